import logging
from pathlib import Path

import pyarrow as pa
import pytest

from metaclip_core.identify import decide
from metaclip_core.matching import EntryMatcher
from metaclip_core.records import ANNOTATED, PAIR
from metaclip_core.text import Normaliser, NormaliserMode
from pipelines.annotate import annotate_batch
from pipelines.config.curation import JointCaptions
from pipelines.curate import curate, language_table
from pipelines.metadata import import_metadata
from tests.fasttext_models import model_bytes

ENTRIES = {"en": ["house", "old", "old house"], "de": ["Haus"]}


class ByWords:
    """German where it says Haus, else English; the surer, the more words: 4 are certain."""

    version, reachable = "by words", frozenset(ENTRIES)

    def identify(self, texts, *, min_score):
        languages = ["de" if "Haus" in text else "en" for text in texts]
        return decide(languages, [min(1.0, len(text.split()) / 4) for text in texts], min_score=min_score)


def pairs(*images):
    rows = [
        {
            "pair_id": f"{row:024x}",
            "shard": 0,
            "row": row,
            "captions": [{"kind": "alt", "text": text} for text in texts],
            "image_offset": 0,
            "image_length": 1,
        }
        for row, texts in enumerate(images)
    ]
    return pa.Table.from_pylist(rows, schema=PAIR)


def annotated(images, *, joint):
    """Language, score and entries of each caption of each image."""
    matcher = EntryMatcher.from_entries(ENTRIES, normaliser=Normaliser(NormaliserMode.UNICODE))
    table = annotate_batch(pairs(*images), ByWords(), matcher, min_score=0.6, joint=joint)
    assert table.schema == ANNOTATED
    return [
        [(caption["language"], caption["language_score"], caption["entry_ids"]) for caption in pair["captions"]]
        for pair in table.to_pylist()
    ]


UNSURE = ["old house", "a house"]
SURE = ["the old house here"]


def test_captions_apart_are_other_where_each_is_unsure():
    found = annotated([UNSURE, SURE], joint=JointCaptions.NEVER)
    assert found == [[("other", 0.5, []), ("other", 0.5, [])], [("en", 1.0, [0, 1, 2])]]


def test_captions_of_an_image_judged_together_are_matched_in_the_language_of_their_sum():
    found = annotated([UNSURE, [], SURE, [*SURE, "Haus"]], joint=JointCaptions.UNSURE)
    sure = ("en", 1.0, [0, 1, 2])
    assert found == [[sure, ("en", 1.0, [0])], [], [sure], [sure, ("other", 0.25, [])]]


@pytest.mark.parametrize("joint", list(JointCaptions))
def test_annotations_do_not_depend_on_how_pairs_are_batched(joint):
    images = [UNSURE, SURE, [], ["Haus"], ["Haus", "im See"], [*UNSURE, *SURE]]
    one_by_one = [annotated([image], joint=joint)[0] for image in images]
    assert annotated(images, joint=joint) == one_by_one
    assert annotated([], joint=joint) == []


@pytest.mark.ray
def test_curate_with_another_model_file_annotates_anew_and_says_what_it_cannot_name(
    cluster, sample, make_config, tmp_path, caplog
):
    pool = tmp_path / "pool"
    pool.mkdir()
    for shard in sorted(sample.glob("*.tar"))[:2]:
        (pool / shard.name).symlink_to(shard)
    model = tmp_path / "lid.bin"
    config = make_config(
        f"pool.uri={pool}", "curation.identifier=fasttext", f"curation.identifier_uri={model}", "curation.p=0.5"
    )
    import_metadata(str(sample / "metadata"), config)
    results = []
    for words in (["one", "two", "three"], ["four", "five", "six"]):
        model.write_bytes(model_bytes({"eng_Latn": words, "deu_Latn": ["drei"]}))
        with caplog.at_level(logging.WARNING):
            results.append(curate(config, progress=lambda *_: None))
    first, second = (result.curated.annotations_uri for result in results)
    assert first != second
    assert {path.name for path in Path(first).iterdir()} == {path.name for path in Path(second).iterdir()}
    assert {row.language for row in language_table(results[0])} <= {"en", "de", "other"}
    assert "identifier fasttext cannot name" in caplog.text
    assert " fr " in caplog.text
