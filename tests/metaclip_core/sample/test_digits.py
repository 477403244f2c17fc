import numpy as np
from sklearn.datasets import load_digits

from metaclip_core.sample.digits import draw_number, split_scans


def test_split_scans_is_disjoint_complete_and_stratified():
    split = split_scans(0)
    assert not split.pool.ids & split.held_out.ids
    assert split.pool.ids | split.held_out.ids == set(range(1797))
    target = load_digits().target
    for digit in range(10):
        pool, held_out = split.pool.ids_by_digit[digit], split.held_out.ids_by_digit[digit]
        assert {target[scan] for scan in pool + held_out} == {digit}
        assert abs(len(held_out) / len(pool + held_out) - 0.2) < 0.01


def test_split_scans_differs_by_seed():
    assert split_scans(0).held_out != split_scans(1).held_out


def test_draw_number_uses_one_scan_for_each_digit_in_order():
    target = load_digits().target
    for number in range(100):
        drawn = draw_number(number, split_scans(0).pool, np.random.default_rng(number))
        assert "".join(str(target[scan]) for scan in drawn.scans) == str(number)


def test_draw_number_is_about_square_with_ink_inside_its_central_square():
    for number in range(100):
        pixels = draw_number(number, split_scans(0).pool, np.random.default_rng(number)).pixels
        height, width, channels = pixels.shape
        assert channels == 3
        assert 40 <= min(height, width) <= max(height, width) <= 96
        assert 0.9 <= width / height <= 1.1
        assert np.ptp(pixels.mean(axis=2)) > 60
