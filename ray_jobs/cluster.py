"""`metaclip cluster`: definitions of a cluster from a site's parameters, and whether they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ray_jobs.options import guarded

SiteFile = Annotated[Path, typer.Argument(metavar="SITE", help="A site's parameters, as those in cluster/sites.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")]
Crd = Annotated[
    Path | None,
    typer.Option("--crd", metavar="PATH", help="KubeRay's custom resource definitions, a file or a folder of them."),
]

app = typer.Typer(help="Definitions of a Ray cluster: AWS, GCP, Kubernetes.", no_args_is_help=True)


@app.command("render")
def render_command(site: SiteFile, out: Out = Path("cluster/rendered")) -> None:
    """Write the definitions of a site, and the cluster's token where it has none yet."""
    from pipelines.definitions import make_token, read_site, render

    read = read_site(site)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in render(read).items():
        (out / name).write_text(text, encoding="utf-8")
        typer.echo(str(out / name))
    typer.echo(f"token: {make_token(read.name)}")


@app.command("check")
def check_command(site: SiteFile, crd: Crd = None) -> None:
    """Check what a site's parameters make, against schemas and what jobs rely on; exit with 1 if anything is wrong."""
    from pipelines.definition_checks import check_files
    from pipelines.definitions import read_site, render

    files = render(read_site(site))
    problems = check_files(files, definitions=crd)
    for problem in problems:
        typer.echo(f"WRONG {problem}")
    if problems:
        raise typer.Exit(1)
    for name in files:
        typer.echo(f"ok    {name}")
    if crd is None and any(name.startswith("kubernetes") for name in files):
        typer.echo("KubeRay's own fields were not checked: give --crd")


if __name__ == "__main__":
    guarded(app)
