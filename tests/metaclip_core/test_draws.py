import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.draws import Purpose, uniform, uniform_scalar

hex_ids = st.text("0123456789abcdef", min_size=24, max_size=24)
epochs = st.integers(0, 2**63 - 1)
GOLDEN_ID = "0123456789abcdef01234567"
NUM_IDS = 20_000  # 1/sqrt(n) = 0.007
LIMIT = 0.03  # over 4 standard errors


@pytest.fixture(scope="module")
def ids():
    return pa.array([hashlib.sha224(str(i).encode()).hexdigest()[:24] for i in range(NUM_IDS)])


@pytest.fixture(scope="module")
def counting_ids():
    return pa.array([f"{i:024x}" for i in range(NUM_IDS)])


def draw(pair_ids, *, purpose=Purpose.KEEP, epoch=0, seed=0):
    return uniform(pair_ids, purpose=purpose, epoch=epoch, seed=seed)


def correlation(one, other):
    return abs(np.corrcoef(one, other)[0, 1])


@pytest.mark.parametrize(
    ("pair_id", "purpose", "epoch", "seed", "expected"),
    [
        (GOLDEN_ID, "keep", 0, 0, 0.41423283081909557),
        (GOLDEN_ID, "keep", 1, 0, 0.6187195744595613),
        (GOLDEN_ID, "caption", 0, 0, 0.012810809248589128),
        (GOLDEN_ID, "crop", 7, -1, 0.36789204465805947),
        (GOLDEN_ID, "sample", 0, 0, 0.20052337839680223),
        (GOLDEN_ID, "example", 0, 0, 0.4448976255905398),
        (GOLDEN_ID, "hold_out", 0, 0, 0.9569989374100208),
        ("0" * 24, "keep", 0, 0, 0.6110455910394228),
        ("f" * 24, "keep", 2**31 - 1, 2**70, 0.863226097609362),
    ],
)
def test_uniform_of_known_pairs_never_changes(pair_id, purpose, epoch, seed, expected):
    assert uniform_scalar(pair_id, purpose=purpose, epoch=epoch, seed=seed) == expected
    assert uniform([pair_id], purpose=purpose, epoch=epoch, seed=seed).tolist() == [expected]


def test_purposes_are_the_words_that_known_draws_were_made_with():
    assert {str(purpose) for purpose in Purpose} == {
        "caption",
        "keep",
        "crop",
        "sample",
        "example",
        "search",
        "hold_out",
    }


@given(st.lists(st.tuples(hex_ids, epochs), max_size=20), st.text(), st.integers())
def test_uniform_of_any_rows_equals_the_scalar_form_to_the_last_bit(rows, purpose, seed):
    pair_ids, row_epochs = [row[0] for row in rows], [row[1] for row in rows]
    got = uniform(pair_ids, purpose=purpose, epoch=np.array(row_epochs, dtype=np.int64), seed=seed)
    assert got.tolist() == [uniform_scalar(pair_id, purpose=purpose, epoch=epoch, seed=seed) for pair_id, epoch in rows]


def test_uniform_over_several_blocks_equals_the_draws_of_each_part(ids):
    parts = [draw(ids.slice(start, 6_000)) for start in range(0, NUM_IDS, 6_000)]
    assert np.array_equal(draw(ids), np.concatenate(parts))


def test_uniform_with_an_epoch_for_each_row_equals_the_draws_of_each_epoch(ids):
    row_epochs = np.arange(NUM_IDS, dtype=np.int32) % 3
    mixed = draw(ids, epoch=row_epochs)
    for epoch in range(3):
        assert np.array_equal(mixed[row_epochs == epoch], draw(ids, epoch=epoch)[row_epochs == epoch])


@pytest.mark.parametrize(
    "form",
    [
        lambda ids: ids.to_pylist(),
        lambda ids: np.array(ids.to_pylist()),
        lambda ids: np.array(ids.to_pylist(), dtype=object),
        lambda ids: ids.cast(pa.large_string()),
        lambda ids: ids.cast(pa.string_view()),
        lambda ids: ids.dictionary_encode(),
        lambda ids: pa.chunked_array([ids[:7], ids[7:7], ids[7:]]),
        lambda ids: pa.chunked_array([ids[:7], ids[7:]]).cast(pa.large_string()),
        lambda ids: pa.concat_arrays([pa.array(["not an id"]), ids, pa.array([None], pa.string())])[1:-1],
        lambda ids: pa.concat_arrays([pa.array(["é"]), ids]).cast(pa.large_string())[1:],
    ],
    ids=[
        "list",
        "numpy",
        "object",
        "large",
        "view",
        "dictionary",
        "chunked",
        "large chunked",
        "sliced",
        "large sliced",
    ],
)
def test_uniform_of_the_same_ids_in_any_container_is_the_same(ids, form):
    some = ids[:100]
    assert np.array_equal(draw(form(some)), draw(some))


@pytest.mark.parametrize(
    "empty", [[], pa.array([], pa.string()), pa.chunked_array([], pa.string()), np.array([], "U24")]
)
def test_uniform_of_no_ids_is_empty(empty):
    assert draw(empty).shape == (0,)
    assert draw(empty, epoch=np.array([], np.int32)).dtype == np.float64


@pytest.mark.parametrize("names", ["ids", "counting_ids"])
def test_uniform_over_many_pairs_is_flat_in_zero_to_one(names, request):
    draws = np.sort(draw(request.getfixturevalue(names)))
    assert draws[0] >= 0
    assert draws[-1] < 1
    distance = np.abs(draws - (np.arange(NUM_IDS) + 0.5) / NUM_IDS).max()  # Kolmogorov and Smirnov
    assert distance < 1.95 / np.sqrt(NUM_IDS)  # exceeded by 1 in 1,000


@pytest.mark.parametrize("names", ["ids", "counting_ids"])
def test_uniform_of_other_epochs_purposes_and_seeds_is_independent(names, request):
    pair_ids = request.getfixturevalue(names)
    reference = draw(pair_ids)
    others = [
        *(draw(pair_ids, epoch=epoch) for epoch in (1, 2, 3, 1000)),
        *(draw(pair_ids, purpose=purpose) for purpose in (Purpose.CAPTION, Purpose.CROP, "keep/left")),
        *(draw(pair_ids, seed=seed) for seed in (1, 2, -1)),
        draw(pair_ids, epoch=1, seed=1),
    ]
    for index, other in enumerate(others):
        assert correlation(reference, other) < LIMIT
        for later in others[index + 1 :]:
            assert correlation(other, later) < LIMIT


def test_uniform_of_neighbouring_ids_is_independent(counting_ids):
    draws = draw(counting_ids)
    for lag in (1, 2, 16, 256):
        assert correlation(draws[lag:], draws[:-lag]) < LIMIT


@given(hex_ids, st.integers(0, 95), st.integers(0, 2**31 - 1))
def test_uniform_after_any_one_bit_of_the_id_changes_is_another(pair_id, bit, epoch):
    other = f"{int(pair_id, 16) ^ (1 << bit):024x}"
    assert draw([pair_id], epoch=epoch) != draw([other], epoch=epoch)


def test_uniform_with_one_bit_of_the_ids_changed_is_independent(ids):
    draws = draw(ids)
    for bit in (0, 31, 32, 63, 64, 95):
        changed = [f"{int(pair_id, 16) ^ (1 << bit):024x}" for pair_id in ids.to_pylist()]
        assert correlation(draws, draw(changed)) < LIMIT


@pytest.mark.parametrize(
    "wrong",
    ["", "0" * 23, "0" * 25, "0" * 23 + "A", "0" * 23 + "g", "0" * 23 + " ", "é" * 12, "é" * 24, "0" * 23 + "\0", None],
)
def test_uniform_of_what_is_no_id_names_the_first(wrong):
    good = "0" * 24
    for pair_ids in (
        [good, wrong, "zzz"],
        pa.array([good, wrong, "z" * 24]),
        pa.chunked_array([[good], [wrong], ["zzz"]]),
        pa.array([good, good, wrong])[1:],
    ):
        with pytest.raises(ValueError, match="row 1 has"):
            draw(pair_ids)
    if wrong is not None:
        with pytest.raises(ValueError, match="24 lower-case hex digits"):
            uniform_scalar(wrong, purpose="keep", epoch=0, seed=0)


@given(st.text("0123456789abcdefABCDEFGg/:@`\x10\x7f", min_size=24, max_size=24) | hex_ids)
def test_uniform_takes_what_the_scalar_form_takes(pair_id):
    try:
        expected = uniform_scalar(pair_id, purpose=Purpose.KEEP, epoch=0, seed=0)
    except ValueError:
        with pytest.raises(ValueError, match="row 0 has"):
            draw([pair_id])
    else:
        assert draw([pair_id]).tolist() == [expected]


def test_uniform_of_a_wrong_id_behind_the_first_block_names_its_row(ids):
    with pytest.raises(ValueError, match=f"row {NUM_IDS} has 'xx"):
        draw(pa.concat_arrays([ids, pa.array(["x" * 24])]))


@pytest.mark.parametrize(
    "epoch", [-1, 0.5, np.array([0, -1]), np.array([0, 1, 2]), np.array([0]), np.array([0.0, 1.0]), np.array([[0, 1]])]
)
def test_uniform_with_epochs_that_do_not_fit_is_refused(epoch):
    with pytest.raises(ValueError, match="epoch"):
        draw(["0" * 24, "1" * 24], epoch=epoch)


def test_uniform_scalar_with_a_negative_epoch_is_refused():
    with pytest.raises(ValueError, match="epoch"):
        uniform_scalar("0" * 24, purpose="keep", epoch=-1, seed=0)


def test_uniform_leaves_the_ids_and_epochs_as_they_were(ids):
    row_epochs = np.arange(NUM_IDS)
    before = ids.to_pylist()
    draw(ids, epoch=row_epochs)
    assert ids.to_pylist() == before
    assert np.array_equal(row_epochs, np.arange(NUM_IDS))
