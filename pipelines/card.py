"""The data card of a curated pool: a page and its data, from artefacts that a curation has left behind."""

from __future__ import annotations

from dataclasses import dataclass

from metaclip_core.card.card import Card, CuratedPool, facts_of_languages, make_card, wanted_names
from metaclip_core.card.survey import survey_sample
from metaclip_core.records import SAMPLED
from metaclip_core.sampling import ProbabilityTables
from pipelines import storage
from pipelines.card_page import card_page, pictured
from pipelines.config import RunConfig
from pipelines.count import read_names
from pipelines.curate import CurationResult
from pipelines.manifest import load_manifest
from pipelines.pictures import read_pictures
from pipelines.samples import make_sample, read_sample
from pipelines.shards import Progress

_PAGE = "index.html"
_DATA = "card.json"
_EPOCH = 0  # whose draw is shown
_EXAMPLES_PER_FATE = 4


@dataclass(frozen=True)
class WrittenCard:
    """Where a card lies."""

    name: str
    folder_uri: str

    @property
    def page_uri(self) -> str:
        """Of `index.html`."""
        return storage.join(self.folder_uri, _PAGE)


def write_card(config: RunConfig, curation: CurationResult, *, progress: Progress) -> WrittenCard:
    """Publish the card of a curation. Connects to Ray only where there is no sample yet."""
    curated = curation.curated
    manifest = load_manifest(config).pinned(curated.num_shards, curated.manifest_digest)
    sample_uri = make_sample(manifest, config, curated, curation.counts, progress=progress)
    card = _make(config, curation, sample_uri)
    pairs = [example.pair for language in pictured(card) for example in language.examples]
    page = card_page(
        card, version=curated.version, matches=curation.counts.matches, pictures=read_pictures(config, manifest, pairs)
    )
    name = f"{curated.pool}-{curated.version}"
    folder_uri = storage.Layout(config.root).report(name)
    storage.write_json(storage.join(folder_uri, _DATA), card.to_json())
    storage.write_bytes(storage.join(folder_uri, _PAGE), page.encode())
    return WrittenCard(name, folder_uri)


def _make(config: RunConfig, curation: CurationResult, sample_uri: str) -> Card:
    curated, thresholds = curation.curated, curation.thresholds
    pool = CuratedPool(
        name=curated.pool,
        counts=curation.counts,
        p=thresholds.p,
        t=thresholds.t,
        expected=curation.expected,
        funnel=curation.funnel,
        provenance={
            "recipe": config.recipe,
            "pool": f"{curated.pool}, {curated.num_shards:,} shards",
            "manifest": curated.manifest_digest,
            "metadata": curated.metadata_uri,
            "annotations": curated.annotations_uri,
            "duplicates": curated.duplicates_uri,
            "counts": curated.counts_uri,
            "thresholds": curated.thresholds_uri,
            "sample": sample_uri,
        },
    )
    survey = survey_sample(
        read_sample(sample_uri, columns=SAMPLED.names),
        ProbabilityTables(curation.counts.matches, thresholds.t),
        epoch=_EPOCH,
        seed=config.seed,
        examples_per_fate=_EXAMPLES_PER_FATE,
    )
    facts = facts_of_languages(pool)
    names = read_names(curated.counts_uri, wanted_names(pool, facts, survey))
    return make_card(pool, facts, survey, names, epoch=_EPOCH, seed=config.seed)
