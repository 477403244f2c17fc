import pytest

from metaclip_core.funnel import Funnel
from metaclip_core.records import DropReason, Stage
from metaclip_core.sifting import sift_caption


@pytest.mark.parametrize("text", ["a", "x" * 20, " a ", "nul\0", "🐶", "\u202e"])
def test_sound_caption_is_taken_as_it_is(text):
    funnel = Funnel()
    assert sift_caption("alt", text, max_chars=20, funnel=funnel) == {"kind": "alt", "text": text}
    assert (funnel.rows_in[Stage.CAPTIONS], funnel.rows_out(Stage.CAPTIONS)) == (1, 1)


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        ("alt", None, DropReason.CAPTION_BAD_SHAPE),
        ("alt", ["a"], DropReason.CAPTION_BAD_SHAPE),
        (3, "a", DropReason.CAPTION_BAD_SHAPE),
        ("alt", "", DropReason.CAPTION_EMPTY),
        ("alt", " \u3000\n", DropReason.CAPTION_EMPTY),
        ("alt", "x" * 21, DropReason.CAPTION_OVER_LIMIT),
        ("alt", "\ud800", DropReason.CAPTION_BROKEN_TEXT),
        ("\udc00", "a", DropReason.CAPTION_BROKEN_TEXT),
        ("alt", "caf\ufffd", DropReason.CAPTION_BROKEN_TEXT),
    ],
)
def test_what_is_no_caption_is_counted_for_its_reason(kind, text, reason):
    funnel = Funnel()
    assert sift_caption(kind, text, max_chars=20, funnel=funnel) is None
    assert funnel.dropped == {(Stage.CAPTIONS, reason): 1}
