"""The stores behind URIs: file systems that are patient with a store's bad moments.

pyarrow's S3 client makes a request again after a 5xx, a time-out, a reset connection or a body that ends before its
stated length; here it is told how often and how long. What is left over when it gives up is an error of the store, and
raises. It can't see an answer whose stated length is itself too short (pyarrow 25 fills up with zeros), which no sound
store gives. Endpoint and keys come from the environment alone, and no message repeats a URI that holds any.
"""

from __future__ import annotations

import functools
import os

import pyarrow.fs as pafs

_S3 = "s3://"
MAX_ATTEMPTS = 7  # the pause before attempt n is random, below 2 ** n seconds: half a minute in all
CONNECT_TIMEOUT_S = 10.0
STALL_TIMEOUT_S = 30.0  # without a byte


def holds_keys(uri: str) -> bool:
    """Whether a URI names a user with a password, or has an S3 key in front of its bucket."""
    scheme, _, rest = uri.partition("://")
    authority = rest.partition("/")[0]
    if f"{scheme}://" == _S3:  # a secret key may hold a slash
        return "@" in rest and (":" in authority or "@" in authority)
    return ":" in authority.rpartition("@")[0]


def open_store(uri: str) -> tuple[pafs.FileSystem, str]:
    """File system and path of an absolute URI.

    In `s3://bucket/key` the key stands as it is: no percent-encoding, no options behind a question mark.

    Raises:
        ValueError, OSError: no file system answers to it.
    """
    if not uri.startswith(_S3):
        filesystem, path = pafs.FileSystem.from_uri(uri)
        return filesystem, path
    path = uri.removeprefix(_S3)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return _open_s3(path.partition("/")[0], endpoint), path


@functools.cache
def _open_s3(bucket: str, endpoint: str | None) -> pafs.S3FileSystem:
    nearby, _ = pafs.FileSystem.from_uri(_S3 + bucket)  # finds the region of the bucket
    return pafs.S3FileSystem(
        region=nearby.region,
        endpoint_override=endpoint,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=STALL_TIMEOUT_S,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=MAX_ATTEMPTS),
    )
