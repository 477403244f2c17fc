"""Curation: raw pairs → annotations → scores, screens → duplicates, near-duplicates → counts → thresholds.

A step that is done is skipped, and one that the recipe does not ask for is not there. CPUs are enough, unless a
classifier of the recipe asks for more.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

from metaclip_core.counting import Measure, PoolCounts
from metaclip_core.funnel import Funnel
from metaclip_core.languages import OTHER
from metaclip_core.metadata.store import read_manifest
from metaclip_core.records import Stage
from pipelines import (
    annotate,
    contamination,
    count,
    deduplicate,
    hash_images,
    near_duplicates,
    score,
    screen,
    storage,
    thresholds,
)
from pipelines.cluster import check_classifiers, check_matcher_cpus, connected
from pipelines.config import RunConfig
from pipelines.config.curation import NearDuplicatePolicy
from pipelines.config.pool import PoolFormat
from pipelines.curated import Curated, DataSet
from pipelines.errors import UserError
from pipelines.identifier import identifier_version, unreachable
from pipelines.lists import warn_of_broken_lines
from pipelines.manifest import Manifest, load_manifest, update_manifest
from pipelines.metadata import metadata_version
from pipelines.shards import Progress, finish

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CurationResult:
    """What a person and a training run want to know of a curation."""

    curated: Curated
    thresholds: thresholds.Thresholds
    counts: PoolCounts
    funnel: Funnel
    expected: dict[str, float]  # pairs that an epoch keeps on average, by language


def locate(config: RunConfig, manifest: Manifest) -> Curated:
    """Where the curation of a pool lies, or will lie.

    An artefact's version hashes its configuration and the versions below it, so that thresholds of other metadata, or
    counts of a pool that has grown since, are never picked up by mistake.

    Raises:
        UserError: there is no metadata, the identifier or a list can't be opened, or a classifier or what hashes images
            is not installed.
    """
    layout, curation = storage.Layout(config.root), config.curation
    metadata = metadata_version(config)
    unused = {"uri"} if config.pool.format is PoolFormat.PARQUET else {"uri", "columns"}
    pool = config.pool.model_dump(mode="json", exclude=unused)
    annotations = storage.version_of(
        "annotations",
        annotate.REVISION,
        pool=pool,
        metadata=metadata,
        identifier=identifier_version(config),
        min_language_score=curation.min_language_score,
        joint_captions=curation.joint_captions,
        normaliser=curation.normaliser,
    )
    scores = [score.scores_version(classifier, pool=pool) for classifier in curation.classifiers]
    looks = bool(curation.benchmarks) or curation.near_duplicates is not NearDuplicatePolicy.KEEP
    hashes = hash_images.hashes_version(config, pool) if looks else None
    listed = contamination.contamination_version(config, hashes=hashes) if hashes else None
    screens = screen.screens_version(config, annotations=annotations, scores=scores, contamination=listed)
    duplicates = storage.version_of(
        "duplicates",
        deduplicate.REVISION,
        annotations=annotations,
        screens=screens,
        manifest=manifest.digest,
        policy=curation.duplicates,
    )
    near = near_duplicates.near_version(config, hashes=hashes, duplicates=duplicates) if hashes else None
    counts = storage.version_of("counts", count.REVISION, duplicates=duplicates, near=near)
    return Curated(
        pool=config.pool.name,
        num_shards=manifest.num_shards,
        manifest_digest=manifest.digest,
        metadata_uri=layout.metadata(metadata),
        annotations_uri=layout.annotations(annotations),
        scores_uris=tuple(map(layout.scores, scores)),
        contamination_uri=layout.contamination(listed) if listed else None,
        screens_uri=layout.screens(screens) if screens else None,
        hashes_uri=layout.hashes(hashes) if hashes else None,
        duplicates_uri=layout.duplicates(duplicates),
        near_uri=layout.near(near) if near else None,
        counts_uri=layout.counts(counts),
        thresholds_uri=layout.thresholds(
            storage.version_of(
                "thresholds",
                thresholds.REVISION,
                counts=counts,
                p=curation.p,
                t_en=curation.t_en,
                scope=curation.thresholds,
            )
        ),
    )


def curate(config: RunConfig, *, progress: Progress) -> CurationResult:
    """Curate the recipe's pool; run again, it continues. Connects to Ray where nobody has yet.

    Raises:
        UserError: no pool, metadata, identifier, list or classifier, too small a cluster, a classifier failed, nothing
            matched, or more was dropped than the recipe allows.
    """
    manifest = update_manifest(config)
    curated = locate(config, manifest)
    _warn_of_unreachable(config, curated)
    warn_of_broken_lines(config)
    with connected(config.compute):
        check_matcher_cpus(config.compute)
        check_classifiers(config.compute, config.curation.classifiers)
        _write_shards(manifest, config, curated, progress)
        deduplicate.deduplicate(manifest, config, curated)
        near_duplicates.find_near_duplicates(manifest, config, curated)
        count.count(manifest, config, curated)
        funnel = count.read_pool_funnel(curated.counts_uri)
        _check_drops(funnel, config)
        _check_left(funnel, config)
        thresholds.write_thresholds(curated, config.curation)
        thresholds.expect(manifest, config, curated)
    return _result(curated)


def load_curation(config: RunConfig) -> CurationResult:
    """The finished curation of the recipe's pool.

    Raises:
        UserError: it was not made, or not with this configuration.
    """
    curated = locate(config, load_manifest(config))
    try:
        return _result(curated)
    except FileNotFoundError as error:
        raise not_curated(config) from error


def not_curated(config: RunConfig) -> UserError:
    """What to say where a curation, or a part of it, is not there."""
    return UserError(f"pool {config.pool.name!r} is not curated with this configuration: run `metaclip curate` first")


def data_set(result: CurationResult) -> DataSet:
    """The curation as records know it."""
    curated, counts = result.curated, result.counts
    return DataSet(
        name=curated.pool,
        digest=curated.version,
        uri=curated.thresholds_uri,
        profile={
            "pairs": counts.total(Measure.PAIRS),
            "matched_pairs": counts.total(Measure.MATCHED_PAIRS),
            "drawn_per_epoch": sum(result.expected.values()),
            "p": result.thresholds.p,
        },
    )


def _result(curated: Curated) -> CurationResult:
    return CurationResult(
        curated=curated,
        thresholds=thresholds.read_thresholds(curated.thresholds_uri),
        counts=count.read_counts(curated.counts_uri),
        funnel=count.read_pool_funnel(curated.counts_uri),
        expected=thresholds.read_expected(curated.thresholds_uri),
    )


def _warn_of_unreachable(config: RunConfig, curated: Curated) -> None:
    """Say which metadata will match no caption, since the identifier never names its language."""
    languages = read_manifest(*storage.resolve(curated.metadata_uri)).num_entries.keys() - {OTHER}
    if missing := unreachable(config, languages):
        _log.warning(
            "identifier %s cannot name %d of the %d metadata languages, and no caption is matched in them: %s",
            config.curation.identifier,
            len(missing),
            len(languages),
            " ".join(missing),
        )


def _write_shards(manifest: Manifest, config: RunConfig, curated: Curated, progress: Progress) -> None:
    """All steps that write a file for each shard. Raises UserError when a classifier fails."""
    annotating = partial(
        annotate.apply_annotate,
        config=config,
        metadata_uri=curated.metadata_uri,
        annotations_uri=curated.annotations_uri,
    )
    finish("annotate", manifest, annotating, folder_uri=curated.annotations_uri, progress=progress)
    for classifier, uri in zip(config.curation.classifiers, curated.scores_uris, strict=True):
        scoring = partial(
            score.apply_score,
            config=config,
            classifier=classifier,
            annotations_uri=curated.annotations_uri,
            scores_uri=uri,
        )
        finish(f"score {classifier.name}", manifest, scoring, folder_uri=uri, progress=progress)
    if curated.hashes_uri is not None:
        hashing = partial(
            hash_images.apply_hash_images,
            config=config,
            annotations_uri=curated.annotations_uri,
            hashes_uri=curated.hashes_uri,
        )
        finish("hash", manifest, hashing, folder_uri=curated.hashes_uri, progress=progress)
    if curated.screens_uri is not None:
        screening = partial(screen.apply_screen, config=config, curated=curated)
        finish("screen", manifest, screening, folder_uri=curated.screens_uri, progress=progress)


def _check_drops(funnel: Funnel, config: RunConfig) -> None:
    """Raises UserError when a reason took more than its share of what arrived at its stage."""
    for (stage, reason), rows in funnel.dropped.items():
        limit = config.curation.max_dropped.get(reason, 1.0)
        share = rows / max(1, funnel.rows_in[stage])
        if share > limit:
            raise UserError(
                f"{reason} took {rows} of {funnel.rows_in[stage]} at stage {stage!r} ({share:.1%}), and "
                f"curation.max_dropped.{reason} allows {limit:.1%}: look at the pool, or raise the limit"
            )


def _check_left(funnel: Funnel, config: RunConfig) -> None:
    """Raises UserError when no pair has come as far as the matches."""
    if funnel.rows_in[Stage.MATCH]:
        return
    for record in funnel.to_records():
        if record["rows_in"] and not record["rows_out"]:
            reasons = ", ".join(f"{rows} {reason}" for reason, rows in record["dropped"].items())
            raise UserError(f"stage {record['stage']!r} left nothing of pool {config.pool.name!r}: {reasons}")


@dataclass(frozen=True)
class LanguageRow:
    """One language of a curated pool. `expected` is what an epoch keeps on average."""

    language: str
    captions: int
    matched: int
    t: int | None
    expected: float


def language_table(result: CurationResult) -> list[LanguageRow]:
    """The languages of the pool, most captions first."""
    counts = result.counts
    languages = {language for measure, language in counts.sums if measure == Measure.CAPTIONS}
    rows = [
        LanguageRow(
            language=language,
            captions=counts.total(Measure.CAPTIONS, language),
            matched=counts.total(Measure.MATCHED_CAPTIONS, language),
            t=result.thresholds.t.get(language),
            expected=result.expected.get(language, 0.0),
        )
        for language in languages
    ]
    return sorted(rows, key=lambda row: (-row.captions, row.language))
