import xml.etree.ElementTree as ET

import numpy as np
import pytest

from metaclip_core.plots import Curve, entry_curve, language_bars, law_curves, share_shift

COUNTS = np.array([0, 1, 2, 3, 94])


def texts(svg):
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter() if element.tag.endswith("}text")]  # noqa: S314


def curve(counts=COUNTS, *, t=3):
    return entry_curve(counts, t=t, max_rank=len(counts), max_count=max(int(max(counts)), t))


def test_entry_curve_names_t_and_both_parts():
    found = texts(curve())
    assert "t = 3" in found
    assert "head: 2 entries, 97.0% of matches" in found
    assert "tail: 2 entries, 3.0% of matches" in found


@pytest.mark.parametrize(("counts", "t"), [([7], 1), ([7], 9), ([5, 5, 5], 5), ([0, 1], 1)])
def test_entry_curve_of_few_entries_is_drawn(counts, t):
    assert f"t = {t}" in texts(curve(np.array(counts), t=t))


def test_entry_curve_of_many_entries_stays_small():
    counts = np.arange(1, 300_000)
    assert len(curve(counts, t=1_000)) < 40_000


def test_language_bars_stand_best_first_with_their_values():
    found = texts(language_bars({"de": 0.5, "en": 0.75, "ja": 0.25}, highlight="en", mean=0.5, chance=0.1))
    assert [text for text in found if text in {"de", "en", "ja"}] == ["ja", "de", "en"]  # from the bottom up
    assert {"75.0%", "50.0%", "25.0%", "mean 50.0%", "chance 10.0%"} <= set(found)


def test_language_bars_without_mean_and_chance_name_neither():
    assert not any(text.startswith(("mean", "chance")) for text in texts(language_bars({"de": 0.0}, highlight="en")))


def test_share_shift_shows_a_share_of_zero_as_a_number():
    assert "5.0% → 0%" in texts(share_shift({"en": (0.95, 1.0), "ps": (0.05, 0.0)}, highlight="en"))


@pytest.mark.parametrize("label", ["<script>", "日本語", "$x_1$", "a\nb", "\x00", "&amp;", "x" * 200])
def test_a_hostile_label_gives_well_formed_svg_and_no_warning(label):
    for svg in (language_bars({label: 0.5}, highlight="en"), share_shift({label: (0.5, 0.5)}, highlight="en")):
        assert "<script" not in svg
        assert texts(svg)


def test_plots_of_the_same_input_have_the_same_bytes():
    assert curve() == curve()
    assert "<metadata" not in curve()


def test_plots_take_their_colours_from_the_page():
    assert 'style="fill: #' not in curve()
    assert "var(--plot-head, #" in curve()


def test_law_curves_have_a_panel_for_each_dial_and_one_key_for_all():
    panels = {
        "p = 0.1": {("worldwide", "mini"): Curve([(1_000, 0.5), (2_000, 0.4)], [(1_000, 0.5), (2_000, 0.4)])},
        "p = 0.2": {("worldwide", "mini"): Curve([(4_000, 0.3)], []), ("english", "tiny"): Curve([(1_000, 0.6)], [])},
    }
    found = texts(law_curves(panels, label="error"))
    assert [text for text in found if text in {"p = 0.1", "p = 0.2", "1k", "2k", "4k"}] == [
        *("1k", "2k", "4k", "p = 0.1"),
        *("1k", "2k", "4k", "p = 0.2"),
    ]
    assert found[-2:] == ["worldwide, mini", "english, tiny"]


def test_law_curves_of_many_sizes_keep_few_ticks():
    points = [(1_000.0 * 2**step, 0.5) for step in range(20)]
    found = texts(law_curves({"p": {("worldwide", "mini"): Curve(points, [])}}, label="error"))
    assert sum(text.endswith(("k", "M")) for text in found) == 5
