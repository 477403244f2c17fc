"""Curation: raw pairs → annotations → hashes → duplicates, near-duplicates → counts → thresholds.

CPU only; a step that is done is skipped, and one that the recipe does not ask for is not there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from metaclip_core.counting import Measure, PoolCounts
from metaclip_core.funnel import Funnel
from metaclip_core.languages import OTHER
from metaclip_core.metadata.store import read_manifest
from pipelines import annotate, count, deduplicate, hash_images, near_duplicates, storage, thresholds
from pipelines.cluster import check_matcher_cpus, connected
from pipelines.config import RunConfig
from pipelines.config.curation import NearDuplicatePolicy
from pipelines.config.pool import PoolFormat
from pipelines.curated import Curated, DataSet
from pipelines.errors import UserError
from pipelines.identifier import identifier_version, unreachable
from pipelines.manifest import Manifest, load_manifest, update_manifest
from pipelines.metadata import metadata_version

_log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]  # step, done, of


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
        UserError: there is no metadata, the identifier cannot be opened, or what hashes images is not installed.
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
    duplicates = storage.version_of(
        "duplicates",
        deduplicate.REVISION,
        annotations=annotations,
        manifest=manifest.digest,
        policy=curation.duplicates,
    )
    looks = curation.near_duplicates is not NearDuplicatePolicy.KEEP
    hashes = hash_images.hashes_version(config, pool) if looks else None
    near = near_duplicates.near_version(config, hashes=hashes, duplicates=duplicates) if hashes else None
    counts = storage.version_of("counts", count.REVISION, duplicates=duplicates, near=near)
    return Curated(
        pool=config.pool.name,
        num_shards=manifest.num_shards,
        manifest_digest=manifest.digest,
        metadata_uri=layout.metadata(metadata),
        annotations_uri=layout.annotations(annotations),
        hashes_uri=layout.hashes(hashes) if hashes else None,
        duplicates_uri=layout.duplicates(duplicates),
        near_uri=layout.near(near) if near else None,
        counts_uri=layout.counts(counts),
        thresholds_uri=layout.thresholds(
            storage.version_of("thresholds", thresholds.REVISION, counts=counts, p=curation.p, t_en=curation.t_en)
        ),
    )


def curate(config: RunConfig, *, progress: Progress) -> CurationResult:
    """Curate the recipe's pool; run again, it continues. Connects to Ray where nobody has yet.

    Raises:
        UserError: no pool, no metadata or identifier, too few CPUs, nothing matched, or more was dropped than the
            recipe allows.
    """
    manifest = update_manifest(config)
    curated = locate(config, manifest)
    _warn_of_unreachable(config, curated)
    with connected(config.compute):
        check_matcher_cpus(config.compute)
        _annotate(manifest, config, curated, progress)
        _hash_images(manifest, config, curated, progress)
        deduplicate.deduplicate(manifest, config, curated)
        near_duplicates.find_near_duplicates(manifest, config, curated)
        count.count(manifest, config, curated)
        _check_drops(count.read_pool_funnel(curated.counts_uri), config)
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


def _annotate(manifest: Manifest, config: RunConfig, curated: Curated, progress: Progress) -> None:
    todo = annotate.unannotated(manifest, curated.annotations_uri)
    done = manifest.num_shards - todo.num_shards
    progress("annotate", done, manifest.num_shards)
    if not todo.num_shards:
        return
    shards = annotate.apply_annotate(
        todo, config, metadata_uri=curated.metadata_uri, annotations_uri=curated.annotations_uri
    )
    for _ in shards.iter_rows():
        done += 1
        progress("annotate", done, manifest.num_shards)


def _hash_images(manifest: Manifest, config: RunConfig, curated: Curated, progress: Progress) -> None:
    if curated.hashes_uri is None:
        return
    todo = annotate.unannotated(manifest, curated.hashes_uri)
    done = manifest.num_shards - todo.num_shards
    progress("hash", done, manifest.num_shards)
    if not todo.num_shards:
        return
    shards = hash_images.apply_hash_images(
        todo, config, annotations_uri=curated.annotations_uri, hashes_uri=curated.hashes_uri
    )
    for _ in shards.iter_rows():
        done += 1
        progress("hash", done, manifest.num_shards)


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
