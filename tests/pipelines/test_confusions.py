"""Which class is taken for which, against a plain loop."""

from pipelines.confusions import Confusions
from pipelines.embed import LocalEmbedder
from pipelines.evaluation_sets import EvaluationSet
from pipelines.measures import measure_sets
from pipelines.tasks import checked_tasks
from tests.evaluation_sets import BROKEN, classification, picture, write_model, write_set


def test_confusions_count_the_nearest_class_of_every_image_that_decoded(tmp_path):
    labels = [0, 1, 2, 2, 1, 0, 1]
    images = [BROKEN, *(picture(n) for n in range(1, 7))]
    uri = write_set(tmp_path / "c", classification(), label=labels, image=images)
    content = classification(multi_label=True)
    other = write_set(tmp_path / "m", content, labels=[[0, 1]])
    embedder = LocalEmbedder(write_model(tmp_path / "model"), batch_rows=4, threads=1)
    confusions, dataset = Confusions(), EvaluationSet.load(uri)
    tasks = checked_tasks([dataset, EvaluationSet.load(other)])
    measure_sets(tasks, embedder, resamples=0, progress=lambda *_: None, views=[confusions])
    english, german = confusions.content()
    assert (english["classes"], german["classes"]) == (["one", "two", "three"], ["one", "two"])
    assert (english["num_classes"], german["num_classes"]) == (3, 2)
    shown = embedder.embed([dataset.images], []).images[0].embeddings
    texts = {key: embedder.prompts(tasks[0][1].prompts[key]) for key in ("en", "de")}
    for found, language in ((english, "en"), (german, "de")):
        size = len(found["classes"])
        expected = [[0] * size for _ in range(size)]
        for row in range(1, 7):
            if labels[row] < size:
                expected[labels[row]][int((shown[row] @ texts[language].T).argmax())] += 1
        assert found["counts"] == expected


def test_of_many_classes_those_with_most_mistakes_are_shown(tmp_path):
    names = [f"class {number}" for number in range(30)]
    content = {"task": "classification", "classes": {"en": names}, "templates": {"en": ["{}"]}}
    uri = write_set(tmp_path / "c", content, label=[7, 8, 29])
    embedder = LocalEmbedder(write_model(tmp_path / "model"), batch_rows=4, threads=1)
    confusions = Confusions()
    tasks = checked_tasks([EvaluationSet.load(uri)])
    measure_sets(tasks, embedder, resamples=0, progress=lambda *_: None, views=[confusions])
    [found] = confusions.content()
    assert (len(found["classes"]), found["num_classes"]) == (20, 30)
    assert {"class 7", "class 8", "class 29"} & set(found["classes"])
