"""What passes between stages: Arrow schemas, and the reasons for which a row may be dropped.

A stage checks its input once, at its edge, with `check`, so that a wrong hand-over fails with the stage's name
and not with a wrong model a week later.
"""

from __future__ import annotations

from enum import StrEnum

import pyarrow as pa

CAPTION = pa.struct([("kind", pa.string()), ("text", pa.string())])

ANNOTATED_CAPTION = pa.struct(
    [
        *CAPTION,
        ("language", pa.string()),  # a metadata language, or `languages.OTHER`
        ("language_score", pa.float32()),
        ("entry_ids", pa.list_(pa.int32())),  # rows of the language's metadata file; sorted, unique
    ]
)

PAIR = pa.schema(
    [
        ("pair_id", pa.string()),  # 24 hex digits, see `pairs.pair_id`
        ("url", pa.string()),  # of the image, see `pairs.shown_url`; null where the pool gives none
        ("shard", pa.int32()),  # the shard's number in the pool's manifest
        ("row", pa.int32()),  # ordinal of the pair's key in its shard, bad ones counted
        ("captions", pa.list_(CAPTION)),
        ("image_offset", pa.int64()),  # the image's place in its shard: bytes of a tar, rows of a parquet file
        ("image_length", pa.int64()),
    ]
)

ANNOTATED = PAIR.set(PAIR.get_field_index("captions"), pa.field("captions", pa.list_(ANNOTATED_CAPTION)))

SAMPLED = ANNOTATED.append(pa.field("inclusion", pa.float64()))  # the chance that the row had to be in the sample

LINK = pa.schema(
    [
        ("pair_id", pa.string()),  # of the URL
        ("url", pa.string()),  # of the image, as `urls.resolve_url` spells it
        ("page", pa.string()),  # that shows it; empty where it is not known
        ("captions", pa.list_(CAPTION)),  # as `links.combine_captions` orders them; never empty
    ]
)

SCORES = pa.schema([("row", pa.int32()), ("score", pa.float32())])  # in [0, 1]; null where there is none

LEFT_OUT = pa.schema([("row", pa.int32()), ("reason", pa.string())])  # of a shard, by row; a DropReason

DRAWN = pa.schema(
    [
        ("pair_id", pa.string()),
        ("epoch", pa.int32()),
        ("shard", pa.int32()),
        ("row", pa.int32()),
        ("caption", pa.string()),
        ("language", pa.string()),
        ("image", pa.binary()),
        ("ledger_id", pa.int64()),  # the ledger that the reader skipped by
        ("drop_reason", pa.string()),  # null, or the row is a tombstone: it travels to be counted
        ("drawn_in_item", pa.int32()),  # null but on the tombstone that closes an (epoch, shard)
    ]
)

EXPORTED = pa.schema(
    [
        ("pair_id", pa.string()),
        ("url", pa.string()),
        ("shard", pa.int32()),
        ("row", pa.int32()),
        ("epoch", pa.int32()),
        ("kind", pa.string()),
        ("caption", pa.string()),
        ("caption_index", pa.int32()),  # of the drawn caption among those of its pair in ANNOTATED
        ("language", pa.string()),
        ("image", pa.binary()),  # as the pool has it: nobody has decoded it
    ]
)

LOOK = pa.schema(  # how an image looks; one row for each of its forms, null where it does not decode
    [
        ("digest", pa.binary(16)),  # of its bytes, see `image_hashes.digest`; null where there are none
        ("hash", pa.binary(32)),  # 256 bits
        ("colours", pa.binary(48)),  # means of 4 × 4 cells, RGB
        ("contrast", pa.uint8()),  # the largest step between neighbours of 64 × 64 grey levels
        ("aspect", pa.float32()),  # log2 of width / height
    ]
)

IMAGE_HASH = pa.schema([("row", pa.int32()), *LOOK, ("drop_reason", pa.string())])  # why there is no look, or null

BENCHMARK_HASH = pa.schema([("image", pa.string()), *LOOK])  # `image`: its path in the benchmark's folder

GONE = pa.schema(  # near-duplicates of a shard, with what stays for them
    [("row", pa.int32()), ("keeper_shard", pa.int32()), ("keeper_row", pa.int32())]
)

EXTRA_CAPTIONS = pa.schema([("row", pa.int32()), ("captions", pa.list_(ANNOTATED_CAPTION))])

CONTAMINATION = pa.schema(
    [
        ("pair_id", pa.string()),
        ("shard", pa.int32()),
        ("row", pa.int32()),
        ("benchmark", pa.string()),  # the URI of its hash file
        ("image", pa.string()),  # of the benchmark, the nearest
        ("distance", pa.int32()),  # in bits of the hash; null where smooth pictures agree in their colours alone
    ]
)

TALLY = pa.schema(
    [
        ("measure", pa.string()),
        ("language", pa.string()),  # empty where the measure is not about one
        ("entry_ids", pa.list_(pa.int32())),  # sorted, unique; [0] where the measure is not about entries
        ("counts", pa.list_(pa.int64())),
    ]
)

COUNTS = pa.schema([("language", pa.string()), ("entry_id", pa.int32()), ("entry", pa.string()), ("count", pa.int64())])


def example_schema(image_size: int) -> pa.Schema:
    """EXAMPLE: what a training worker receives. `pixels` holds 3 × image_size × image_size bytes, channels first."""
    kept = [DRAWN.field(name) for name in ("epoch", "shard", "row", "language", "ledger_id")]
    tombstone = [DRAWN.field(name) for name in ("drop_reason", "drawn_in_item")]
    return pa.schema(
        [
            ("pixels", pa.binary(3 * image_size * image_size)),
            ("input_ids", pa.list_(pa.int32())),
            *kept,
            *tombstone,
        ]
    )


class Stage(StrEnum):
    """Lines of the funnel, in the order of the flow."""

    SHARDS = "shards"  # whole ones
    RECORDS = "records"  # of a crawl's file
    LINKS = "links"  # images that pages show
    READ = "read"  # samples of a shard → pairs
    CAPTIONS = "captions"  # captions of pairs and links
    BLOCK = "block"
    OPT_OUT = "opt_out"
    CLASSIFY = "classify"  # a line for each classifier, see `classifier_stage`
    CONTAMINATION = "contamination"
    DEDUPLICATE = "deduplicate"
    NEAR = "near_duplicates"
    MATCH = "match"
    DRAW = "draw"  # pairs with a match → pairs of one epoch
    EXPORT = "export"  # pairs of one epoch → pairs written


def classifier_stage(name: str) -> str:
    """The line of the funnel of one classifier."""
    return f"{Stage.CLASSIFY} {name}"


class DropReason(StrEnum):
    """Why a row, or one caption of it, goes no further. Each is a line of the funnel."""

    # shards
    SHARD_TRUNCATED = "shard_truncated"  # read to its last byte; what stands before the cut is kept
    SHARD_UNREADABLE = "shard_unreadable"  # no archive at all
    # records of a crawl, and their links
    RECORD_BROKEN = "record_broken"  # bytes that do not decompress, or hold no record
    RECORD_BYTES_OVER_LIMIT = "record_bytes_over_limit"
    LINK_BAD_SHAPE = "link_bad_shape"
    URL_EMPTY = "url_empty"
    URL_NOT_HTTP = "url_not_http"  # data:, javascript:, …
    URL_BROKEN = "url_broken"  # relative to nothing, or no address
    URL_OVER_LIMIT = "url_over_limit"
    # samples of a shard
    BAD_MEMBER = "bad_member"
    BAD_METADATA = "bad_metadata"  # JSON that does not parse, or not of the expected shape
    NO_IMAGE = "no_image"
    IMAGE_BYTES_OVER_LIMIT = "image_bytes_over_limit"
    METADATA_BYTES_OVER_LIMIT = "metadata_bytes_over_limit"
    NO_CAPTION = "no_caption"
    # captions
    CAPTION_EMPTY = "caption_empty"
    CAPTION_OVER_LIMIT = "caption_over_limit"
    CAPTION_BROKEN_TEXT = "caption_broken_text"  # bytes that are no UTF-8, lone surrogates
    CAPTION_BAD_SHAPE = "caption_bad_shape"
    # screening
    BLOCKED_URL = "blocked_url"  # or its pair id
    BLOCKED_IMAGE = "blocked_image"
    OPTED_OUT = "opted_out"
    UNSCORED = "unscored"  # no image, or the classifier gave no score
    SCORE_ABOVE = "score_above"
    SCORE_BELOW = "score_below"
    # curation
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"  # an earlier pair's image looks the same
    CONTAMINATION = "contamination"  # an image of a benchmark looks the same
    NO_MATCH = "no_match"
    NOT_DRAWN = "not_drawn"
    # decoding
    IMAGE_BROKEN = "image_broken"
    IMAGE_PIXELS_OVER_LIMIT = "image_pixels_over_limit"
    # no loss: closes an item of the stream, see the ledger
    ITEM_END = "item_end"


class SchemaError(TypeError):
    """A stage was handed a table that is not of its schema: an error of the program, never of the data."""


def check(table: pa.Table, schema: pa.Schema, *, stage: str) -> pa.Table:
    """`table` with exactly the columns of `schema`, in order.

    Raises:
        SchemaError: a column is missing or of another type; the message names stage, column and both types.
    """
    for field in schema:
        index = table.schema.get_field_index(field.name)
        if index < 0:
            raise SchemaError(f"{stage}: column {field.name!r} is missing; got {table.schema.names}")
        found = table.schema.field(index).type
        if found != field.type:
            raise SchemaError(f"{stage}: column {field.name!r} is {found}, expected {field.type}")
    return table.select(schema.names)
