import pytest

from metaclip_core.languages import reachable
from pipelines import storage
from pipelines.config import build_config
from pipelines.errors import UserError
from pipelines.identifier import identifier_version, open_identifier, unreachable
from tests.fasttext_models import WITH_SCRIPTS, model_bytes


def with_identifier(identifier, uri=None, *, root="state"):
    return build_config({"root": str(root), "curation": {"identifier": identifier, "identifier_uri": uri}})


def language_of(identifier, text):
    return identifier.identify([text], min_score=0.3).languages[0]


def test_recipe_without_an_identifier_gets_lid176():
    identifier = open_identifier(build_config({}))
    assert identifier.reachable == reachable("lid176")
    assert language_of(identifier, "A photo of an old house in the mountains") == "en"


def test_recipe_with_cld2_gets_it():
    pytest.importorskip("pycld2")
    assert open_identifier(with_identifier("cld2")).reachable == reachable("cld2")


@pytest.mark.parametrize("form", ["models/lid.bin", "{root}/models/lid.bin", "file://{root}/models/lid.bin"])
def test_recipe_with_a_model_file_gets_it_wherever_its_uri_says(tmp_path, form):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "lid.bin").write_bytes(model_bytes(WITH_SCRIPTS))
    identifier = open_identifier(with_identifier("fasttext", form.format(root=tmp_path), root=tmp_path))
    assert language_of(identifier, "shtëpi") == "sq"


def test_version_differs_for_every_identifier_and_every_content_of_a_model_file(tmp_path):
    path = tmp_path / "lid.bin"
    config = with_identifier("fasttext", str(path))
    path.write_bytes(model_bytes(WITH_SCRIPTS, weight=5.0))
    first = identifier_version(config)
    path.write_bytes(model_bytes(WITH_SCRIPTS, num_ngrams=1))
    second = identifier_version(config)
    assert len({first, second, identifier_version(build_config({}))}) == 3


def test_version_does_not_depend_on_where_a_model_file_lies(tmp_path):
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(model_bytes(WITH_SCRIPTS))
    versions = {identifier_version(with_identifier("fasttext", str(tmp_path / name))) for name in ("a.bin", "b.bin")}
    assert len(versions) == 1


def test_model_file_that_is_missing_is_told(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*lid\.bin"):
        identifier_version(with_identifier("fasttext", str(tmp_path / "lid.bin")))


@pytest.mark.parametrize("content", [b"", b"no model", model_bytes(WITH_SCRIPTS)[:-9], model_bytes({"spam": ["buy"]})])
def test_model_file_that_is_none_is_told_in_one_line(tmp_path, content):
    path = tmp_path / "lid.bin"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^curation.identifier_uri: .*lid\.bin.*$") as caught:
        identifier_version(with_identifier("fasttext", str(path)))
    assert "\n" not in str(caught.value)


def test_unreachable_are_the_metadata_languages_that_the_identifier_never_names():
    assert unreachable(build_config({}), ["zu", "en", "yo", "ha"]) == ["ha", "zu"]


def test_local_file_of_a_store_is_a_copy_with_its_content(tmp_path, monkeypatch):
    (tmp_path / "lid.bin").write_bytes(b"model")
    local = storage.resolve(str(tmp_path / "lid.bin"))
    with storage.local_file(str(tmp_path / "lid.bin")) as path:
        assert path == tmp_path / "lid.bin"
    monkeypatch.setattr(
        storage, "resolve", lambda _: (storage.pafs.SubTreeFileSystem(str(tmp_path), local[0]), "lid.bin")
    )
    with storage.local_file("store://bucket/lid.bin") as path:
        assert path.read_bytes() == b"model"
        assert path != tmp_path / "lid.bin"
    assert not path.exists()
