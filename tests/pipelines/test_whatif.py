import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metaclip_core.counting import Measure, PoolCounts
from metaclip_core.records import SAMPLED, check
from metaclip_core.sampling import ProbabilityTables, draw
from pipelines.config import build_config
from pipelines.config.curation import ThresholdScope
from pipelines.count import read_counts
from pipelines.curate import curate
from pipelines.errors import UserError
from pipelines.metadata import import_metadata
from pipelines.samples import read_sample
from pipelines.selection import read_unique
from pipelines.thresholds import compute_thresholds
from pipelines.whatif import Dial, ask

pytestmark = pytest.mark.ray

P = Dial(p=0.1, t_en=None)


def quiet(*_):
    """No progress."""


@pytest.fixture(scope="module")
def make(cluster, sample, tmp_path_factory):
    """Configurations over one curated pool."""
    root = tmp_path_factory.mktemp("whatif")

    def config(*overrides):
        recipe = {
            "root": str(root),
            "pool": {"name": "numbers", "uri": str(sample)},
            "metadata": {"name": "numbers"},
            "curation": {"p": 0.3},
            "compute": {"timeout_s": 120},
        }
        return build_config(recipe, overrides=overrides)

    import_metadata(str(sample / "metadata"), config())
    return config


@pytest.fixture(scope="module")
def curation(make):
    return curate(make(), progress=quiet)


@pytest.fixture(scope="module")
def pool(curation):
    """The unique pairs of the pool."""
    return pa.concat_tables(read_unique(curation.curated, shard) for shard in range(curation.curated.num_shards))


def test_ask_about_the_dial_of_the_recipe_says_what_the_curation_says(make, curation):
    result = ask(make(), [Dial(p=0.3, t_en=None)], progress=quiet)
    outlook = result.dials[0].outlook
    assert outlook.t == curation.thresholds.t
    found = {language: of_language.pairs.mean for language, of_language in outlook.languages.items()}
    assert found == pytest.approx(curation.expected)
    assert outlook.total.pairs.mean == pytest.approx(sum(curation.expected.values()))


@pytest.mark.parametrize("sample_rows", [60, 150, 1_000])
def test_draws_of_the_sample_pool_lie_in_the_intervals(make, curation, pool, sample_rows):
    dials = [Dial(p=p, t_en=None) for p in (0.02, 0.1, 0.3)] + [Dial(p=None, t_en=40)]
    inside = []
    for of_dial in ask(make(f"curation.sample_rows={sample_rows}"), dials, progress=quiet).dials:
        tables = ProbabilityTables(curation.counts.matches, of_dial.outlook.t)
        for epoch in range(10):
            drawn = draw(pool, tables, epoch=epoch, seed=3)
            kept = Counter(drawn.language.to_pylist())
            for language, of_language in of_dial.outlook.languages.items():
                inside.append(of_language.pairs.low <= kept[language] <= of_language.pairs.high)
            total = of_dial.outlook.total.pairs
            inside.append(total.low <= len(drawn.row) <= total.high)
            assert total.high - total.low < 0.9 * total.mean
    assert np.mean(inside) >= 0.9


def test_the_sample_holds_unique_pairs_with_the_chance_that_their_captions_give(make, curation, pool):
    result = ask(make("curation.sample_rows=150"), [P], progress=quiet)
    sampled = check(pq.read_table(result.sample_uri), SAMPLED, stage="test")
    of_pool = {pair["pair_id"]: pair for pair in pool.to_pylist()}
    chances = Counter()
    for pair in sampled.to_pylist():
        chances[pair.pop("inclusion")] += 1
        assert of_pool[pair["pair_id"]] == pair
    assert sampled.num_rows == len(set(sampled["pair_id"].to_pylist()))
    assert 75 < sampled.num_rows < pool.num_rows / 2
    assert len(chances) > 5
    assert chances[1.0] > 5  # of rare languages
    tables = read_sample(result.sample_uri, columns=["pair_id", "inclusion"])
    assert pa.concat_tables(tables).equals(sampled.select(["pair_id", "inclusion"]))


def test_the_sample_is_the_same_however_the_pass_is_split(make, curation):
    config = make("curation.sample_rows=100", "compute.shard_blocks=1")
    uri = Path(ask(config, [P], progress=quiet).sample_uri)
    content = uri.read_bytes()
    uri.unlink()
    assert ask(make("curation.sample_rows=100", "compute.shard_blocks=8"), [P], progress=quiet).sample_uri == str(uri)
    assert uri.read_bytes() == content


def test_only_the_first_question_reads_the_annotations(make, curation, tmp_path):
    config = make("curation.sample_rows=120")
    steps = []
    first = ask(config, [P], progress=lambda *step: steps.append(step))
    assert steps[-1] == ("sample", 12, 12)
    away = shutil.move(curation.curated.annotations_uri, tmp_path / "annotations")
    try:
        again = ask(config, [P, Dial(p=None, t_en=20)], progress=lambda *_: steps.append("again"))
    finally:
        shutil.move(away, curation.curated.annotations_uri)
    assert again.dials[0] == first.dials[0]
    assert "again" not in steps


def test_a_pass_that_fails_leaves_no_sample(make, curation, tmp_path):
    config = make("curation.sample_rows=90")
    shard = Path(curation.curated.annotations_uri) / "00000007.parquet"
    away = shutil.move(shard, tmp_path / shard.name)
    before = set(Path(config.root).glob("samples/*/*"))
    try:
        with pytest.raises(Exception, match=shard.name):
            ask(config, [P], progress=quiet)
    finally:
        shutil.move(away, shard)
    assert set(Path(config.root).glob("samples/*/*")) == before
    assert ask(config, [P], progress=quiet).dials


def test_ask_about_a_pool_that_was_not_counted_with_this_configuration_is_refused(make, curation):
    with pytest.raises(UserError, match="metaclip curate"):
        ask(make("curation.min_language_score=0.4"), [P], progress=quiet)
    with pytest.raises(UserError, match="no manifest"):
        ask(make("pool.name=other"), [P], progress=quiet)


def test_ask_takes_other_dials_than_that_of_the_curation(make, curation):
    """The curation was made with p = 0.3; that its recipe now says something else is no reason to refuse."""
    assert ask(make("curation.p=null", "curation.t_en=9"), [P], progress=quiet).dials[0].p == 0.1


@pytest.mark.parametrize(("matches", "words"), [({"de": [1]}, "give p"), ({"en": [0, 0]}, "mentions any metadata")])
def test_thresholds_of_counts_that_allow_none_are_refused(matches, words):
    counts = PoolCounts({language: np.array(of_language) for language, of_language in matches.items()})
    with pytest.raises(UserError, match=words):
        compute_thresholds(counts, pool="numbers", p=None, t_en=20, scope=ThresholdScope.LANGUAGE)


def test_matched_captions_of_the_pool_are_those_that_estimates_scale_to(curation, pool):
    """Counting and sampling agree on what a matched caption is, and counts say it of each language."""
    counts = read_counts(curation.curated.counts_uri)
    matched = Counter(
        caption["language"] for pair in pool["captions"].to_pylist() for caption in pair if caption["entry_ids"]
    )
    assert matched == {language: counts.total(Measure.MATCHED_CAPTIONS, language) for language in matched}
    assert {language for language in counts.matches if counts.matches[language].any()} == set(matched)
