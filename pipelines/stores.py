"""The stores behind URIs: file systems that are patient with a store's bad moments.

pyarrow's S3 client makes a request again after a 5xx, a time-out, a reset connection or a body that ends before its
stated length; here it is told how often and how long. What is left over when it gives up is an error of the store, and
raises. It can't see an answer whose stated length is itself too short (pyarrow 25 fills up with zeros), which no sound
store gives. Endpoint and keys come from the environment alone, and no message repeats a URI that holds any.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable

import pyarrow.fs as pafs

_S3 = "s3://"
_TOKEN_SCHEMES = {"s3", "http", "https"}  # whose user alone is a secret
_SECRET_OPTION = re.compile(r"[?&][^=&]*(password|passwd|secret|token|access_key|sig)[^=&]*=", re.IGNORECASE)
MAX_ATTEMPTS = 10  # the pause before attempt n is random, below 2 ** n and 20 seconds: a minute in all
CONNECT_TIMEOUT_S = 10.0
STALL_TIMEOUT_S = 30.0  # without a byte


def holds_keys(uri: str) -> bool:
    """Whether a URI holds a password, a token for HTTP, a key of an S3 bucket, or a secret among its options.

    A password that is not quoted may hold a slash: what looks like host and port is read as user and password when an @
    comes later.
    """
    scheme, _, rest = uri.partition("://")
    authority = rest.partition("/")[0]
    user = authority.rpartition("@")[0]
    if (user and scheme in _TOKEN_SCHEMES) or (scheme and _SECRET_OPTION.search(rest)):
        return True
    password = authority.partition(":")[2] if "@" in rest else ""
    return bool(password) and not password.isdigit()


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


class _PatientS3(pafs.S3FileSystem):  # type: ignore[misc] # pyarrow is not typed
    """Opened anew where it is unpickled: pyarrow would leave out the retries, and write keys down."""

    opened_by: tuple[str, str | None]  # arguments of `_open_s3`

    def __reduce__(self) -> tuple[Callable[..., pafs.S3FileSystem], tuple[str, str | None]]:
        return _open_s3, self.opened_by


@functools.cache
def _open_s3(bucket: str, endpoint: str | None) -> pafs.S3FileSystem:
    nearby, _ = pafs.FileSystem.from_uri(_S3 + bucket)  # finds the region of the bucket
    store = _PatientS3(
        region=nearby.region,
        endpoint_override=endpoint,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=STALL_TIMEOUT_S,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=MAX_ATTEMPTS),
    )
    store.opened_by = bucket, endpoint
    return store
