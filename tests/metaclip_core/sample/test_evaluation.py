import io
import json

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_digits

from metaclip_core.sample.carriers import CARRIERS
from metaclip_core.sample.digits import split_scans


def read_set(sample_path, name):
    folder = sample_path / "evaluation" / name
    return pq.read_table(folder / "images.parquet").to_pylist(), json.loads((folder / "dataset.json").read_text())


def test_evaluation_images_show_their_label_in_held_out_scans_only(sample_path):
    held_out, target = split_scans(3).held_out.ids, load_digits().target
    for name in ("numbers-10", "numbers-100", "numbers-retrieval"):
        rows, dataset = read_set(sample_path, name)
        assert dataset["name"] == name
        assert len({row["image_id"] for row in rows}) == len(rows)
        for row in rows:
            _, *scans = map(int, row["image_id"].split("-"))
            assert held_out.issuperset(scans)
            assert "".join(str(target[scan]) for scan in scans) == str(row["label"])
        assert np.asarray(Image.open(io.BytesIO(rows[-1]["image"]))).shape[2] == 3


def test_evaluation_classification_names_all_classes_in_twenty_languages(sample_path):
    for name, num_classes, num_images in (("numbers-10", 10, 359), ("numbers-100", 100, 1000)):
        rows, dataset = read_set(sample_path, name)
        assert dataset["task"] == "classification"
        assert len(rows) == num_images
        assert {row["label"] for row in rows} == set(range(num_classes))
        assert set(dataset["classes"]) == set(dataset["templates"]) == set(CARRIERS)
        for language, names in dataset["classes"].items():
            assert len(set(names)) == num_classes, language


def test_evaluation_retrieval_has_distinct_captions_for_each_image(sample_path):
    rows, dataset = read_set(sample_path, "numbers-retrieval")
    assert dataset["task"] == "retrieval"
    assert [row["label"] for row in rows] == list(range(100))
    assert set(dataset["captions"]) == set(CARRIERS)
    for language, captions in dataset["captions"].items():
        assert len(captions) == 100
        flat = [caption for of_image in captions for caption in of_image]
        assert len(set(flat)) == 200, language
