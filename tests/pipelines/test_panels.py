import torch

from pipelines.embed import LocalEmbedder
from pipelines.evaluation_sets import EvaluationSet
from pipelines.measures import measure_sets
from pipelines.panels import Panels
from pipelines.tasks import checked_tasks
from tests.evaluation_sets import BROKEN, classification, picture, write_model, write_set


def test_panels_hold_the_nearest_captions_and_images_and_say_which_are_right(tmp_path):
    captions = {"ja": [[f"七{n}", f"八{n}"] for n in range(9)], "en": [[f"a{n}"] for n in range(9)]}
    images = [BROKEN, *(picture(n) for n in range(1, 9))]
    uri = write_set(tmp_path / "r", {"task": "retrieval", "captions": captions}, image=images)
    other = write_set(tmp_path / "c", classification(), label=[0])
    embedder = LocalEmbedder(write_model(tmp_path / "model"), batch_rows=4, threads=1)
    panels, dataset = Panels(), EvaluationSet.load(uri)
    tasks = checked_tasks([dataset, EvaluationSet.load(other)])
    measure_sets(tasks, embedder, resamples=0, progress=lambda *_: None, views=[panels])
    english, japanese = panels.content()
    assert [(panel["dataset"], panel["language"]) for panel in (english, japanese)] == [("r", "en"), ("r", "ja")]
    assert len(english["captions_of"]) == len(english["pictures_of"]) == 6
    shown = embedder.embed([dataset.images], []).images[0].embeddings
    texts = embedder.prompts([[text] for of_image in captions["ja"] for text in of_image])
    flat = [text for of_image in captions["ja"] for text in of_image]
    expected = [flat[row] for row in (shown[1] @ texts.T).topk(3).indices]  # row 0 does not decode
    first_picture, answers = japanese["captions_of"][0]
    assert [answer["shown"] for answer in answers] == expected
    assert [answer["right"] for answer in answers] == [text in captions["ja"][1] for text in expected]
    caption, pictures = japanese["pictures_of"][0]
    assert caption == "七1"
    nearest = (shown[1:] @ texts[2]).topk(3).indices + 1
    assert [answer["right"] for answer in pictures] == (nearest == 1).tolist()
    assert all(answer["shown"].startswith("data:image/jpeg;base64,/9j/") for answer in pictures)
    assert first_picture.startswith("data:image/jpeg;base64,/9j/")
    assert torch.isfinite(shown).all()
