"""The layers of the house, proved by the imports of every module: ray_jobs → pipelines → metaclip_core."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("metaclip_core", "pipelines", "ray_jobs")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FORBIDDEN = {
    "metaclip_core": {"ray", "mlflow", "pipelines", "ray_jobs"},
    "pipelines": {"ray_jobs"},
    "ray_jobs": set(),
}
MLFLOW_MODULE = "pipelines/tracking.py"


def imported(source, package):
    """Top-level names of what a module imports, at any depth of its code; `package` is the one it stands in."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(package if node.level else node.module.partition(".")[0])
    return names


def reads_environment(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}:
            return True
        if isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} & {
            "environ",
            "environb",
            "getenv",
        }:
            return True
    return False


def prints(source):
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"print", "pprint"}
        for node in ast.walk(ast.parse(source))
    )


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(params=MODULES, ids=name_of)
def module(request):
    return request.param


def test_module_imports_no_layer_above_its_own(module):
    package = module.relative_to(ROOT).parts[0]
    assert not imported(module.read_text(encoding="utf-8"), package) & FORBIDDEN[package]


def test_module_other_than_tracking_does_not_know_mlflow(module):
    knows = "mlflow" in imported(module.read_text(encoding="utf-8"), module.relative_to(ROOT).parts[0])
    assert knows == (name_of(module) == MLFLOW_MODULE)


def test_module_never_prints(module):
    assert not prints(module.read_text(encoding="utf-8"))


def test_core_never_reads_the_environment():
    core = [path for path in MODULES if name_of(path).startswith("metaclip_core/")]
    assert [name_of(path) for path in core if reads_environment(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("light", ["pipelines.launch", "pipelines.draw_captions", "pipelines.leftover"])
def test_what_starts_with_every_run_and_computes_nothing_waits_for_no_torch(light):
    program = f"import sys, {light}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert not {"torch", "mlflow", "sklearn"} & set(done.stdout.split())


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_was_found(package):
    assert ROOT / package / "__init__.py" in MODULES


@pytest.mark.parametrize(
    "source",
    [
        "import ray",
        "import numpy, ray.data as data",
        "from ray.data import Dataset",
        "def f():\n    if x:\n        import ray",
        "try:\n    from ray import train\nexcept ImportError:\n    pass",
    ],
)
def test_an_import_of_any_form_is_found(source):
    assert "ray" in imported(source, "metaclip_core")


@pytest.mark.parametrize("source", ["from . import ray", "import ray_jobs", "x = 'import ray'", "# import ray"])
def test_what_imports_no_ray_is_not_mistaken_for_it(source):
    assert "ray" not in imported(source, "metaclip_core")


@pytest.mark.parametrize(
    "source", ["import os\nos.environ['A']", "from os import environ", "from os import getenv as g", "os.getenv('A')"]
)
def test_a_look_at_the_environment_is_found(source):
    assert reads_environment(source)


def test_a_print_is_found_and_a_method_of_that_name_is_none():
    assert prints("def f():\n    print(1)")
    assert not prints("console.print(1)\nprint_json(2)")
