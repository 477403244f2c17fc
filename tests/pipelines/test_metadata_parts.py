"""Metadata of some languages, or merged into one list, as the papers' ablation takes them."""

import pytest

from metaclip_core.identify import NoIdentifier
from metaclip_core.languages import OTHER
from metaclip_core.metadata.store import read_entries, read_manifest
from pipelines import storage
from pipelines.config import build_config
from pipelines.errors import UserError
from pipelines.metadata import import_metadata, metadata_version

MERGED = ["metadata.merged=true", "curation.identifier=none"]


@pytest.fixture
def make(tmp_path):
    """Configurations over metadata of three languages."""
    folder = tmp_path / "lists"
    folder.mkdir()
    for language, words in {"en": ["one", "rat"], "de": ["eins", "rat"], "fr": ["un"]}.items():
        (folder / f"{language}.txt").write_text("\n".join(words))

    def make(*overrides):
        return build_config({"root": str(tmp_path / "root")}, overrides=overrides)

    import_metadata(str(folder), make())
    return make


def entries(config):
    place = storage.resolve(storage.Layout(config.root).metadata(metadata_version(config)))
    return {name: read_entries(*place, name).to_pylist() for name in read_manifest(*place).num_entries}


def test_some_languages_keep_their_lists_as_they_are(make):
    whole, part = entries(make()), entries(make("metadata.languages=[en]"))
    assert part == {"en": whole["en"]}


def test_merged_lists_are_one_of_all_entries(make):
    whole, merged = entries(make()), entries(make(*MERGED))
    assert list(merged) == [OTHER]
    assert sorted(merged[OTHER]) == sorted({entry for of_language in whole.values() for entry in of_language})


def test_part_is_made_once_and_has_a_version_of_its_own(make):
    versions = [metadata_version(make(*options)) for options in ([], MERGED, ["metadata.languages=[en, de]"], MERGED)]
    assert versions[1] == versions[3]
    assert len(set(versions)) == 3


def test_language_that_the_metadata_lack_is_refused(make):
    with pytest.raises(UserError, match="have no nl"):
        metadata_version(make("metadata.languages=[en, nl]"))


@pytest.mark.parametrize("alone", MERGED)
def test_merged_metadata_and_no_identifier_go_together(make, alone):
    with pytest.raises(UserError, match="go together"):
        make(alone)


def test_no_identifier_is_sure_of_the_one_language():
    found = NoIdentifier().identify(["one", ""], min_score=1.0)
    assert found.languages == [OTHER, OTHER]
    assert found.scores.tolist() == [1.0, 1.0]
