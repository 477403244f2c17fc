import contextlib
import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from pipelines.config import RunConfig, build_config
from pipelines.errors import UserError


def sections(model=RunConfig, path=()):
    """Every section of the configuration with the path to it."""
    yield path, model
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from sections(field.annotation, (*path, name))


SECTIONS = list(sections())
NSFW = {"name": "nsfw", "drop_above": 0.5}


def nested(path, value):
    for key in reversed(path):
        value = {key: value}
    return value


def test_empty_recipe_gives_the_defaults():
    assert build_config({}) == RunConfig()


@pytest.mark.parametrize("path", [path for path, _ in SECTIONS], ids=".".join)
def test_unknown_key_in_any_section_is_refused_with_its_path(path):
    full = (*path, "stepz")
    with pytest.raises(UserError, match=f"^unknown key {'.'.join(full)}$"):
        build_config(nested(full, 3))


def test_unknown_key_of_a_classifier_is_refused_with_its_path():
    with pytest.raises(UserError, match=r"^unknown key curation.classifiers.0.module$"):
        build_config({"curation": {"classifiers": [{**NSFW, "module": "os"}]}})


def test_several_mistakes_are_told_at_once():
    with pytest.raises(UserError) as caught:
        build_config({"traning": {}, "pool": {"nam": "x"}, "seed": "many"})
    assert all(part in str(caught.value) for part in ("unknown key traning", "unknown key pool.nam", "seed: "))


@pytest.mark.parametrize(
    ("recipe", "path"),
    [
        ({"training": {"steps": 0}}, "training.steps"),
        ({"training": {"learning_rate": 0}}, "training.learning_rate"),
        ({"training": {"best_by": "valid/loss"}}, "training"),
        ({"training": {"scale_multiple": 0}}, "training.scale_multiple"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate"),
        ({"training": {"betas": [0.9]}}, "training.betas.1"),
        ({"curation": {"p": 1.5}}, "curation.p"),
        ({"curation": {"p": float("nan")}}, "curation.p"),
        ({"curation": {"max_dropped": {"no_image": -0.1}}}, "curation.max_dropped.no_image"),
        ({"curation": {"duplicates": "last"}}, "curation.duplicates"),
        ({"curation": {"near_duplicates": "last"}}, "curation.near_duplicates"),
        ({"curation": {"near_distance": 32}}, "curation.near_distance"),
        ({"curation": {"benchmark_distance": -1}}, "curation.benchmark_distance"),
        ({"curation": {"identifier": "langid"}}, "curation.identifier"),
        ({"curation": {"identifier": "fasttext"}}, "curation.identifier_uri"),
        ({"curation": {"identifier": "fasttext", "identifier_uri": ""}}, "curation.identifier_uri"),
        ({"curation": {"identifier": "cld2", "identifier_uri": "lid.bin"}}, "curation.identifier_uri"),
        ({"curation": {"identifier_uri": "lid.bin"}}, "curation.identifier_uri"),
        ({"curation": {"joint_captions": True}}, "curation.joint_captions"),
        ({"curation": {"block_lists": "list.txt"}}, "curation.block_lists"),
        ({"curation": {"opt_out_lists": ["s3://key:secret@bucket/list"]}}, "curation.opt_out_lists.0"),
        ({"curation": {"classifiers": [{"drop_above": 0.5}]}}, "curation.classifiers.0.name"),
        ({"curation": {"classifiers": [{"name": "nsfw"}]}}, "curation.classifiers.0"),
        ({"curation": {"classifiers": [{**NSFW, "drop_below": 0.1}]}}, "curation.classifiers.0"),
        ({"curation": {"classifiers": [{**NSFW, "drop_above": 1.5}]}}, "curation.classifiers.0.drop_above"),
        ({"curation": {"classifiers": [{**NSFW, "num_gpus": -1}]}}, "curation.classifiers.0.num_gpus"),
        ({"curation": {"classifiers": [{**NSFW, "options": [1]}]}}, "curation.classifiers.0.options"),
        (
            {"curation": {"classifiers": [{**NSFW, "options": {"of": [{"uri": "s3://key:secret@bucket/weights"}]}}]}},
            "curation.classifiers.0.options",
        ),
        ({"curation": {"classifiers": [NSFW, NSFW]}}, "curation.classifiers"),
        ({"pool": {"format": "zip"}}, "pool.format"),
        ({"pool": {"columns": {"image_path": "file"}}}, "pool.columns"),
        ({"pool": {"columns": {"captions": None}}}, "pool.columns.captions"),
        ({"pool": {"uri": "s3://key:secret@bucket/pool"}}, "pool.uri"),
        ({"pool": None}, "pool"),
        ({"compute": {"max_failures": -2}}, "compute.max_failures"),
        ({"feed": {"shuffle_rows": 2.5}}, "feed.shuffle_rows"),
        ({"feed": {"mode": "both"}}, "feed.mode"),
    ],
)
def test_impossible_value_is_refused_with_its_path(recipe, path):
    with pytest.raises(UserError, match=f"^{path}: "):
        build_config(recipe)


def test_both_p_and_t_en_are_refused():
    with pytest.raises(UserError, match="curation: give one of p and t_en"):
        build_config({"curation": {"p": 0.06, "t_en": 20_000}})
    with pytest.raises(UserError, match="curation: give one of p and t_en"):
        build_config({}, overrides=["curation.t_en=20000"])


def test_neither_p_nor_t_en_is_refused():
    with pytest.raises(UserError, match="curation: give one of p and t_en"):
        build_config({"curation": {"p": None}})


def test_t_en_alone_is_taken():
    config = build_config({}, overrides=["curation.p=null", "curation.t_en=20000"])
    assert (config.curation.p, config.curation.t_en) == (None, 20_000)


@settings(deadline=None)
@given(st.integers(1, 64), st.integers(1, 9))
def test_global_batch_is_taken_exactly_when_it_divides_by_the_workers(global_batch_size, num_workers):
    recipe = {"training": {"global_batch_size": global_batch_size}, "compute": {"num_workers": num_workers}}
    if global_batch_size % num_workers == 0:
        assert build_config(recipe).training.global_batch_size == global_batch_size
    else:
        with pytest.raises(UserError, match=rf"global_batch_size {global_batch_size} .*num_workers {num_workers}"):
            build_config(recipe)


@pytest.mark.parametrize(("warmup_steps", "refused"), [(0, False), (10, False), (11, True)])
def test_warmup_longer_than_the_training_is_refused(warmup_steps, refused):
    recipe = {"training": {"steps": 10, "warmup_steps": warmup_steps}}
    if refused:
        with pytest.raises(UserError, match="training: warmup_steps 11 is more than steps 10"):
            build_config(recipe)
    else:
        assert build_config(recipe).training.warmup_steps == warmup_steps


@pytest.mark.parametrize(
    ("override", "path", "expected"),
    [
        ("seed=7", ("seed",), 7),
        ("training.learning_rate=1e-4", ("training", "learning_rate"), 1e-4),
        ("training.betas=[0.8, 0.95]", ("training", "betas"), (0.8, 0.95)),
        ("compute.use_gpu=true", ("compute", "use_gpu"), True),
        ("compute.address=ray://head:10001", ("compute", "address"), "ray://head:10001"),
        ("tracking.uri=", ("tracking", "uri"), None),
        ("pool.uri=s3://bucket/a=b", ("pool", "uri"), "s3://bucket/a=b"),
        ("curation.max_dropped={no_image: 0.5}", ("curation", "max_dropped"), {"no_image": 0.5}),
        ("evaluation.sets=[a, b]", ("evaluation", "sets"), ["a", "b"]),
    ],
)
def test_override_sets_one_key(override, path, expected):
    value = build_config({}, overrides=[override])
    for key in path:
        value = getattr(value, key)
    assert value == expected


def test_overrides_win_over_the_recipe_and_later_ones_over_earlier_ones():
    recipe = {"training": {"steps": 500, "warmup_steps": 5}}
    config = build_config(recipe, overrides=["training.steps=300", "training.steps=400"])
    assert (config.training.steps, config.training.warmup_steps) == (400, 5)


def test_recipe_is_left_as_it_was():
    recipe = {"training": {"steps": 500}, "evaluation": {"sets": ["a"]}}
    before = copy.deepcopy(recipe)
    build_config(recipe, overrides=["training.steps=300", "pool.name=x"])
    assert recipe == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.steps", "a.b=c"),
        ("=3", "a.b=c"),
        ("training.stepz=3", "unknown key training.stepz"),
        ("seed.deep=3", "seed"),
        ("pool.name=[", "no YAML value"),
        ("pool.name=2020-13-45", "no YAML value"),  # looks like a date, and is none
        ("pool.name=0b_", "no YAML value"),  # looks like a number, and is none
    ],
)
def test_override_that_cannot_be_applied_is_refused(override, message):
    with pytest.raises(UserError, match=message):
        build_config({"seed": 1}, overrides=[override])


@settings(deadline=None, max_examples=150)
@given(st.text() | st.from_regex(r"[a-z_.]{0,12}=[\s\S]{0,12}", fullmatch=True))
def test_any_override_gives_a_configuration_or_one_sentence(override):
    with contextlib.suppress(UserError):
        assert isinstance(build_config({}, overrides=[override]), RunConfig)


def test_configuration_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        build_config({}).training.steps = 3


def test_configuration_through_json_is_the_same():
    config = build_config({"curation": {"p": None, "t_en": 3}, "training": {"betas": [0.8, 0.9]}})
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
