"""The card against plain loops over the pool that it is made from."""

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from metaclip_core.balancing import pair_probability, thresholds
from metaclip_core.card.card import CuratedPool, facts_of_languages, make_card, wanted_names
from metaclip_core.card.survey import survey_sample
from metaclip_core.counting import Measure
from metaclip_core.funnel import Funnel
from metaclip_core.inclusion import inclusion_rates, sample_pairs
from metaclip_core.records import SAMPLED, DropReason, Stage
from metaclip_core.sampling import ProbabilityTables, draw, expected_kept
from tests.annotated_pools import NUM_ENTRIES, counts_of, pool_of, salted, uneven_pool

EPOCH, SEED = 2, 5
PAIRS = uneven_pool(600)
COUNTS = counts_of(PAIRS)
T = thresholds(COUNTS.matches, p=0.2)
TABLES = ProbabilityTables(COUNTS.matches, T.t)


def whole(pairs):
    """The pool as its own sample."""
    return pairs.append_column(SAMPLED.field("inclusion"), pa.array(np.ones(pairs.num_rows)))


def surveyed(*tables):
    return survey_sample(tables, TABLES, epoch=EPOCH, seed=SEED, examples_per_fate=3)


def curated():
    funnel = Funnel()
    funnel.enter(Stage.READ, 700)
    funnel.drop(Stage.READ, DropReason.NO_IMAGE, 100)
    expected = expected_kept(PAIRS, TABLES)
    return CuratedPool("pool", COUNTS, T.p, T.t, expected, funnel, {"manifest": "d1"})


def card_of(survey):
    pool = curated()
    facts = facts_of_languages(pool)
    wanted = wanted_names(pool, facts, survey)
    names = {language: {entry: f"{language} {entry}" for entry in ids} for language, ids in wanted.items()}
    return make_card(pool, facts, survey, names, epoch=EPOCH, seed=SEED)


@pytest.fixture(scope="module")
def card():
    return card_of(surveyed(whole(PAIRS)))


def test_card_of_a_whole_sample_has_the_numbers_of_the_pool(card):
    assert (card.pairs, card.sampled_pairs) == (600, 600)
    assert card.text.captions == card.captions == COUNTS_OF_CAPTIONS.total()
    drawn = Counter(draw(PAIRS, TABLES, epoch=EPOCH, seed=SEED).language.to_pylist())
    assert [language.language for language in card.languages] == [name for name, _ in COUNTS_OF_CAPTIONS.most_common()]
    for language in card.languages:
        name = language.language
        assert language.drawn == drawn[name]
        assert language.captions == language.text.captions == COUNTS_OF_CAPTIONS[name]
        assert language.text.matched_share == pytest.approx(language.matched / language.captions)
        assert language.share_drawn == pytest.approx(drawn[name] / drawn.total())
        assert language.entries.entries == NUM_ENTRIES.get(name, 0)
        assert (language.t is None) == (name == "other")
    for part in ("captions", "expected", "drawn"):
        assert sum(getattr(language, f"share_{part}") for language in card.languages) == pytest.approx(1)


COUNTS_OF_CAPTIONS = Counter(
    {language: number for (measure, language), number in sorted(COUNTS.sums.items()) if measure == Measure.CAPTIONS}
)


def test_card_is_json_and_names_what_it_shows(card):
    content = json.loads(json.dumps(card.to_json()))
    english = next(language for language in content["languages"] if language["language"] == "en")
    matches = COUNTS.matches["en"]
    assert [(m["entry"], m["matches"]) for m in english["top"]][:3] == [
        (f"en {entry}", matches[entry]) for entry in np.argsort(-matches, kind="stable")[:3]
    ]
    assert english["top"][0]["probability"] == pytest.approx(T.t["en"] / matches.max())
    assert all(matches[int(entry.split()[1])] == 0 for entry in english["unmentioned"])
    assert content["funnel"][0]["dropped"] == {"no_image": 100}
    assert content["provenance"] == {"manifest": "d1"}


def test_examples_say_what_the_epoch_decided_and_why(card):
    records = {pair["pair_id"]: pair for pair in PAIRS.to_pylist()}
    result = draw(PAIRS, TABLES, epoch=EPOCH, seed=SEED)
    drawn = dict(zip(PAIRS["pair_id"].take(pa.array(result.row)).to_pylist(), result.caption.to_pylist(), strict=True))
    fates = Counter()
    for language in card.languages:
        for example in language.examples:
            pair, record = example.pair, records[example.pair.pair_id]
            caption = next(c for c in record["captions"] if c["text"] == pair.text)
            assert pair.language == caption["language"] == language.language
            assert pair.entry_ids == caption["entry_ids"]
            assert drawn.get(pair.pair_id) == (pair.text if pair.reason is None else None)
            matched = any(c["entry_ids"] for c in record["captions"])
            assert (pair.reason == DropReason.NO_MATCH) == (not matched)
            if matched:
                tables = {name: T.t[name] / np.maximum(counts, T.t[name]) for name, counts in COUNTS.matches.items()}
                assert pair.probability == pytest.approx(pair_probability(tables[pair.language], pair.entry_ids))
                assert len(example.mentions) == min(3, len(pair.entry_ids))
                chances = [mention.probability for mention in example.mentions]
                assert chances == sorted(chances, reverse=True)
                assert chances[0] == tables[pair.language][pair.entry_ids].max()
            fates[pair.reason] += 1
    assert min(fates[None], fates[DropReason.NOT_DRAWN], fates[DropReason.NO_MATCH]) >= 3


def test_card_does_not_depend_on_how_the_sample_is_split(card):
    sample = whole(PAIRS)
    parts = [sample.slice(start, 17) for start in range(0, 600, 17)]
    assert card_of(surveyed(*parts)).to_json() == card.to_json()


def test_draw_estimated_from_samples_is_on_average_that_of_the_pool():
    rates = inclusion_rates(COUNTS, num_pairs=150)
    estimates, truth = [], []
    for salt in range(200):
        pool = salted(PAIRS, salt)
        survey = surveyed(sample_pairs(pool, rates))
        estimates.append([survey.drawn.get("en", 0), survey.captions.of_all().captions])
        kept = draw(pool, TABLES, epoch=EPOCH, seed=SEED).language.to_pylist()
        truth.append([kept.count("en"), COUNTS_OF_CAPTIONS.total()])
    error = np.mean(estimates, axis=0) - np.mean(truth, axis=0)
    spread = np.std(np.array(estimates) - truth, axis=0) / np.sqrt(len(truth))
    assert np.all(np.abs(error) < 4 * spread)


def test_card_of_a_pool_without_matches_is_a_card():
    pairs = pool_of([[("en", [])], [("other", [])]])
    pool = CuratedPool("pool", counts_of(pairs), 1.0, {}, {}, Funnel(), {})
    survey = survey_sample([whole(pairs)], ProbabilityTables({}, {}), epoch=0, seed=0, examples_per_fate=1)
    facts = facts_of_languages(pool)
    names = {"en": dict.fromkeys(wanted_names(pool, facts, survey)["en"], "x")}
    card = make_card(pool, facts, survey, names, epoch=0, seed=0)
    assert [language.share_drawn for language in card.languages] == [0, 0]
    assert [language.examples[0].pair.reason for language in card.languages] == [DropReason.NO_MATCH] * 2
    assert [language.examples[0].mentions for language in card.languages] == [[], []]


def test_card_of_an_empty_sample_is_a_card():
    card = card_of(surveyed())
    assert card.sampled_pairs == 0
    assert {language.text for language in card.languages} == {None}
