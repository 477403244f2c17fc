"""Tiny copies of the published layouts, each converted and read back as a task."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import storage
from pipelines.convert import KINDS, convert_set
from pipelines.converters.published import Options
from pipelines.errors import UserError
from pipelines.evaluation_sets import EvaluationSet
from pipelines.tasks import task_of
from tests.evaluation_sets import picture


def lay_out(folder, files):
    """Write files: bytes, text, or JSON for anything else."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            (folder / path).write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            (folder / path).write_text(text, encoding="utf-8")
    return str(folder)


def converted(tmp_path, kind, files, **options):
    source = lay_out(tmp_path / "source", files)
    num_images = convert_set(kind, source, out_uri=str(tmp_path / "set"), options=Options(**options))
    dataset = EvaluationSet.load(str(tmp_path / "set"))
    assert dataset.images.num_images == num_images
    task_of(dataset)
    return dataset


def images_of(dataset):
    return storage.read_table(dataset.images.uri)["image"].to_pylist()


IMAGENET = {f"n0{folder}/{name}.JPEG": picture(10 * folder + name) for folder in (3, 1, 2) for name in (0, 1)}


def test_folders_are_classes_in_the_order_of_their_names(tmp_path):
    names = {"en": ["a", "b", ["c", "see"]], "de": ["x", None, "z"]}
    files = {"names.json": names, "t.json": {"en": ["a {}"], "de": ["{}"]}}
    files = lay_out(tmp_path / "more", files)
    dataset = converted(tmp_path, "folders", IMAGENET, names=f"{files}/names.json", templates=f"{files}/t.json")
    assert dataset.images.column("label") == [0, 0, 1, 1, 2, 2]
    assert images_of(dataset) == [picture(10 * folder + name) for folder in (1, 2, 3) for name in (0, 1)]
    assert dataset.content["classes"]["de"] == ["x", None, "z"]
    assert dataset.content["templates"] == {"en": ["a {}"], "de": ["{}"]}


def test_a_file_of_several_data_sets_has_a_key_and_its_templates_their_place(tmp_path):
    files = lay_out(tmp_path / "more", {"n.json": {"three": ["a", "b", "c"]}, "t.json": {"three": ["a photo of {c}."]}})
    dataset = converted(
        tmp_path, "folders", IMAGENET, names=f"{files}/n.json", templates=f"{files}/t.json", key="three"
    )
    assert dataset.content["classes"] == {"en": ["a", "b", "c"]}
    assert dataset.content["templates"] == {"en": ["a photo of {}."]}
    with pytest.raises(UserError, match="has no part 'four'"):
        converted(tmp_path, "folders", IMAGENET, names=f"{files}/n.json", key="four")


def test_babel_imagenet_names_some_classes_in_each_language(tmp_path):
    files = lay_out(
        tmp_path / "more",
        {"babel.json": {"DE": [[0, 2], ["eins", "drei"]], "JA": [[1], ["二"]]}, "t.json": {"DE": ["ein {}"]}},
    )
    dataset = converted(tmp_path, "babel-imagenet", IMAGENET, names=f"{files}/babel.json", templates=f"{files}/t.json")
    assert dataset.content["classes"] == {"de": ["eins", None, "drei"], "ja": [None, "二", None]}
    assert dataset.content["templates"] == {"de": ["ein {}"], "ja": ["{}"]}


STREET = {
    "images_v2_imagenet_test.csv": (
        "id,imageRelPath,country.id,imagenet_sysnet_id\n"
        '1,assets/a.jpg,de,"[0, 2]"\n'
        "2,assets/b.jpg,ke,[1]\n"
    ),
    "images_v2_imagenet_train.csv": "id,imageRelPath,country.id\n3,assets/c.jpg,ke\n4,assets/d.jpg,de\n",
    **{f"assets/{name}.jpg": picture(seed) for seed, name in enumerate("abcd")},
}  # fmt: skip


def test_dollar_street_has_several_labels(tmp_path):
    names = lay_out(tmp_path / "more", {"n.json": ["x", "y", "z"]})
    dataset = converted(tmp_path, "dollar-street", STREET, names=f"{names}/n.json")
    assert dataset.images.column("labels") == [[0, 2], [1]]
    assert dataset.content["multi_label"]
    assert images_of(dataset) == [picture(0), picture(1)]


def test_dollar_street_asks_for_countries_with_few_shots(tmp_path):
    dataset = converted(tmp_path, "dollar-street", STREET, label="country")
    assert dataset.content["shots"] == [5, 10, 25]
    assert dataset.images.column("split") == ["train", "train", "test", "test"]
    assert [dataset.content["classes"]["en"][label] for label in dataset.images.column("label")] == [
        "ke",
        "de",
        "de",
        "ke",
    ]
    assert images_of(dataset) == [picture(2), picture(3), picture(0), picture(1)]


COUNTRIES = [(country, number) for country in ("NG", "JP") for number in range(8)]
GEODE = {
    "index.csv": "file_path,object,region,ip_country\n"
    + "".join(f"{c}/{n}.jpg,{['hand_soap', 'bag'][n % 2]},r,{c}\n" for c, n in COUNTRIES),
    **{f"images/{country}/{number}.jpg": picture(number) for country, number in COUNTRIES},
}


def test_geode_names_its_objects(tmp_path):
    dataset = converted(tmp_path, "geode", GEODE)
    assert dataset.content["classes"] == {"en": ["bag", "hand soap"]}
    assert dataset.images.column("label") == [1, 0] * 8
    assert dataset.content["templates"] == {"en": ["a photo of a {}."]}


def test_geode_asks_for_countries_with_a_split_by_name(tmp_path):
    dataset = converted(tmp_path, "geode", GEODE, label="country")
    assert set(dataset.images.column("split")) == {"train", "test"}
    assert dataset.content["classes"] == {"en": ["JP", "NG"]}


def test_landmarks_are_those_of_the_test_images(tmp_path):
    files = {
        "recognition_solution_v2.1.csv": "id,landmarks,Usage\nabc1,7 12,Public\nabd2,,Public\nxyz3,7,Private\n",
        "train_label_to_category.csv": (
            "landmark_id,category\n7,http://commons.wikimedia.org/wiki/Category:K%C3%B6lner_Dom\n"
            "9,http://commons.wikimedia.org/wiki/Category:Not_shown\n"
            "12,http://commons.wikimedia.org/wiki/Category:Eiffel_Tower\n"
        ),
        "test/a/b/c/abc1.jpg": picture(1),
        "test/a/b/d/abd2.jpg": picture(2),
        "test/x/y/z/xyz3.jpg": picture(3),
    }
    dataset = converted(tmp_path, "gldv2", files)
    assert dataset.content["classes"] == {"en": ["Kölner Dom", "Eiffel Tower"]}
    assert dataset.images.column("labels") == [[0, 1], [0]]
    assert images_of(dataset) == [picture(1), picture(3)]


def archive(images):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in images.items():
            member = tarfile.TarInfo(f"./images/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("packed", [True, False])
def test_xm3600_has_all_captions_of_all_languages(tmp_path, packed):
    lines = [
        {"image/key": "k1", "image/locale": "de", "en": {"caption": ["a", "b"]}, "mi": {"caption": ["c"]}},
        {"image/key": "k2", "image/locale": "en", "en": {"caption": ["d"]}, "mi": {"caption": ["e", "f", "g"]}},
    ]  # fmt: skip
    images = {"k2.jpg": picture(2), "k1.jpg": picture(1)}
    files = {"captions.jsonl": "\n".join(map(json.dumps, lines)) + "\n"}
    files |= {"images.tgz": archive(images)} if packed else {f"images/{name}": data for name, data in images.items()}
    dataset = converted(tmp_path, "xm3600", files)
    assert dataset.content["captions"] == {"en": [["a", "b"], ["d"]], "mi": [["c"], ["e", "f", "g"]]}
    assert images_of(dataset) == [picture(1), picture(2)]


@pytest.mark.parametrize(("kind", "index"), [("flickr30k-200", "filenames.txt"), ("xtd-200", "test_image_names.txt")])
def test_captions_by_flores_code_get_the_names_of_our_languages(tmp_path, kind, index):
    codes = ["eng_Latn", "zho_Hans", "zho_Hant", "deu_Latn"]
    files = {f"{code}.txt": f"{code} 1\n{code} 2\n" for code in codes}
    files |= {index: "1.jpg\n2.jpg\n", "images/1.jpg": picture(1), "images/2.jpg": picture(2)}
    captions = converted(tmp_path, kind, files).content["captions"]
    assert captions.keys() == {"en", "de", "zho_Hans", "zho_Hant"}
    assert captions["en"] == [["eng_Latn 1"], ["eng_Latn 2"]]


def test_xtd_10_takes_captions_from_where_it_keeps_them(tmp_path):
    files = {
        f"{path}.txt": f"{path} 1\n{path} 2"
        for path in ("test_1kcaptions_en", "MIC/test_1kcaptions_de", "STAIR/test_1kcaptions_jp")
    }
    files |= {"test_image_names.txt": "1.jpg\n2.jpg\n", "images/1.jpg": picture(1), "images/2.jpg": picture(2)}
    assert converted(tmp_path, "xtd-10", files).content["captions"].keys() == {"en", "de", "ja"}


def cvqa(tmp_path, labels=(0, 3)):
    subsets = ["('Japanese', 'Japan')", "('Spanish', 'Mexico')"]
    rows = [
        {
            "image": {"bytes": picture(row), "path": None}, "ID": str(row), "Subset": subset, "Question": "何?",
            "Translated Question": "what?", "Options": ["ア", "イ", "ウ", "エ"],
            "Translated Options": ["a", "b", "c", "d"], "Label": label,
        }
        for row, (subset, label) in enumerate(zip(subsets, labels, strict=True))
    ]  # fmt: skip
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return converted(tmp_path, "cvqa", {"data/test-00000-of-00001.parquet": buffer.getvalue()})


def test_cvqa_asks_in_both_forms(tmp_path):
    dataset = cvqa(tmp_path)
    assert dataset.images.column("language") == ["japanese-japan", "spanish-mexico"]
    assert dataset.content["questions"]["local"][0] == {"question": "何?", "options": ["ア", "イ", "ウ", "エ"]}
    assert dataset.content["questions"]["english"][1]["options"] == ["a", "b", "c", "d"]
    assert images_of(dataset) == [picture(0), picture(1)]


def test_cvqa_without_answers_is_refused(tmp_path):
    with pytest.raises(UserError, match="withholds 1 of 2 answers"):
        cvqa(tmp_path, labels=(0, -1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_benchmark_that_is_not_there_says_where_to_get_it(kind, tmp_path):
    with pytest.raises(UserError, match=f"no {kind} at .*; get it from .*") as caught:
        convert_set(kind, str(tmp_path / "gone"), out_uri=str(tmp_path / "set"), options=Options())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"folders", "babel-imagenet", "dollar-street"}))
def test_a_folder_that_lacks_its_files_says_where_to_get_them(kind, tmp_path):
    (tmp_path / "source").mkdir()
    with pytest.raises(UserError, match=r"is not in .*; get it from"):
        convert_set(kind, str(tmp_path / "source"), out_uri=str(tmp_path / "set"), options=Options())


@pytest.mark.parametrize("kind", ["folders", "babel-imagenet", "dollar-street"])
def test_a_kind_without_names_of_its_own_asks_for_them(kind, tmp_path):
    with pytest.raises(UserError, match="names FILE is needed"):
        converted(tmp_path, kind, IMAGENET)


def test_an_unknown_kind_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(UserError, match="'imagenet-x'; known are folders, babel-imagenet"):
        convert_set("imagenet-x", str(tmp_path), out_uri=str(tmp_path / "set"), options=Options())


def test_names_of_another_number_of_classes_are_refused(tmp_path):
    names = lay_out(tmp_path / "more", {"n.json": ["a"], "b.json": {"DE": [[0, 3], ["a", "b"]]}})
    with pytest.raises(UserError, match="3 class folders, and en names 1 classes"):
        converted(tmp_path, "folders", IMAGENET, names=f"{names}/n.json")
    with pytest.raises(UserError, match="DE is no pair of class numbers below 3"):
        converted(tmp_path, "babel-imagenet", IMAGENET, names=f"{names}/b.json")


def test_images_that_are_missing_are_counted_and_nothing_is_written(tmp_path):
    files = {"index.csv": GEODE["index.csv"], "images/NG/0.jpg": picture(0)}
    with pytest.raises(UserError, match=r"15 of 16 images of images, the first NG/1\.jpg, is not in"):
        converted(tmp_path, "geode", files)
    assert not (tmp_path / "set").exists()
