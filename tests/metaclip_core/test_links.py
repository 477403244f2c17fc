import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.links import CAPTION_KINDS, MAX_CAPTIONS, combine_captions, merge_links, with_caption
from metaclip_core.pairs import pair_id
from metaclip_core.records import LINK

captions = st.lists(
    st.fixed_dictionaries(
        {"kind": st.sampled_from(CAPTION_KINDS), "text": st.sampled_from("abcdefg") | st.text(min_size=1)}
    ),
    min_size=1,
    max_size=5,
)
rows = st.builds(
    lambda name, page, found: {
        "pair_id": pair_id(f"http://x/{name}", ""),
        "url": f"http://x/{name}",
        "page": page,
        "captions": combine_captions(found),
    },
    st.sampled_from("pqrst"),
    st.sampled_from(["", "http://b/", "http://a/"]),
    captions,
)


def table(content):
    return pa.Table.from_pylist(content, LINK)


def naive(content):
    """All captions of an image, distinct by text."""
    found = {}
    for row in content:
        texts = found.setdefault(row["pair_id"], {})
        for caption in row["captions"]:
            kinds = texts.setdefault(caption["text"], set())
            kinds.add(caption["kind"])
    best = {name: {text: min(kinds, key=CAPTION_KINDS.index) for text, kinds in found[name].items()} for name in found}
    return dict(sorted(best.items()))


@given(st.lists(rows, max_size=30))
def test_merged_rows_hold_every_id_once_with_all_distinct_captions(content):
    merged = merge_links(table(content)).to_pylist()
    assert [row["pair_id"] for row in merged] == list(naive(content))
    for row, texts in zip(merged, naive(content).values(), strict=True):
        assert {caption["text"]: caption["kind"] for caption in row["captions"]} == texts
        assert len(row["captions"]) == len(texts)
        kinds = [CAPTION_KINDS.index(caption["kind"]) for caption in row["captions"]]
        assert kinds == sorted(kinds)
        assert row["page"] == min(r["page"] for r in content if r["pair_id"] == row["pair_id"])


@given(st.lists(rows, max_size=30), st.randoms(use_true_random=False), st.integers(0, 30))
def test_merging_parts_in_any_order_and_again_gives_the_same_table(content, rng, cut):
    whole = merge_links(table(content))
    shuffled = rng.sample(content, len(content))
    parts = [merge_links(table(part)) for part in (shuffled[:cut], shuffled[cut:])]
    assert merge_links(pa.concat_tables([*parts, parts[0]])).equals(whole)
    assert merge_links(whole).equals(whole)


def test_captions_of_an_image_are_bounded_and_a_bounded_set_merges_the_same_however_it_is_cut():
    found = [{"kind": CAPTION_KINDS[i % 3], "text": f"text {i}"} for i in range(500)]
    whole = combine_captions(found)
    assert len(whole) == MAX_CAPTIONS
    halves = [combine_captions(found[i::2]) for i in range(2)]
    assert combine_captions([*halves[1], *halves[0]]) == whole


def test_first_caption_is_the_one_for_downloaders_that_know_one():
    found = [{"kind": "title", "text": "t"}, {"kind": "alt", "text": "a"}, {"kind": "alt", "text": "t"}]
    row = {"pair_id": "0", "url": "http://x/", "page": "", "captions": combine_captions(found)}
    told = with_caption(merge_links(table([row])))
    assert told["caption"].to_pylist() == [row["captions"][0]["text"]]
    assert {caption["text"]: caption["kind"] for caption in row["captions"]} == {"a": "alt", "t": "alt"}
