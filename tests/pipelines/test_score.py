import hashlib

import pyarrow as pa
import pytest

from metaclip_core.records import SCORES
from metaclip_core.scores import ScoreError
from pipelines.classifiers import find_classifier
from pipelines.config.curation import ClassifierConfig
from pipelines.score import score_batch


def classifier(name, **options):
    return find_classifier(ClassifierConfig(name=name, drop_above=0.5)).make(options)


def pairs(images=None):
    texts = [["a dog", "a cat"], ["a dog"], ["a cow"]]
    columns = {"row": pa.array([3, 5, 6], pa.int32()), "captions": texts, "url": ["http://a.example/", None, None]}
    table = pa.table(columns)
    return table if images is None else table.append_column("image", pa.array(images, pa.binary()))


def test_pairs_are_scored_by_row(classifiers):
    scores = score_batch(pairs(), classifier("words", word="dog"))
    assert scores.schema == SCORES
    assert scores.to_pydict() == {"row": [3, 5, 6], "score": [0.5, 1.0, 0.0]}


def test_pair_whose_image_can_not_be_read_is_not_shown_and_gets_no_score(classifiers):
    images = [b"one", None, b"three"]
    scores = score_batch(pairs(images), classifier("bytes"))["score"].to_pylist()
    first, third = (hashlib.sha256(image).digest()[0] / 255 for image in (b"one", b"three"))
    assert scores == [pytest.approx(first), None, pytest.approx(third)]


def test_batch_without_any_image_is_not_shown_to_the_classifier(classifiers):
    scores = score_batch(pairs([None, None, None]), classifier("faulty", fault="raises"))
    assert scores["score"].to_pylist() == [None, None, None]


def test_scores_that_are_none_are_refused(classifiers):
    with pytest.raises(ScoreError, match="1 scores for 3 rows"):
        score_batch(pairs(), classifier("faulty", fault="short"))
