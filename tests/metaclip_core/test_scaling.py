import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.scaling import scale_worldwide


def test_published_training_is_what_the_rule_gives():
    found = scale_worldwide(english_share=0.4354, steps=390_625, global_batch_size=32_768, multiple_of=384)
    assert found.global_batch_size == 75_264
    assert found.seen_pairs == pytest.approx(29e9, rel=0.02)


def test_english_alone_stays():
    assert scale_worldwide(english_share=1.0, steps=10, global_batch_size=64).global_batch_size == 64


@given(share=st.floats(0.01, 1), batch=st.integers(1, 10**5), multiple=st.integers(1, 64))
def test_batch_divides_and_as_many_english_pairs_are_seen(share, batch, multiple):
    found = scale_worldwide(english_share=share, steps=7, global_batch_size=batch, multiple_of=multiple)
    assert found.global_batch_size % multiple == 0
    assert found.seen_pairs == 7 * found.global_batch_size
    assert abs(found.global_batch_size * share - batch) <= multiple


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_share_that_none_can_be_is_refused(share):
    with pytest.raises(ValueError, match="English share"):
        scale_worldwide(english_share=share, steps=1, global_batch_size=1)
