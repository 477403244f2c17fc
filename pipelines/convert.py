"""Published benchmarks as evaluation sets: which layouts are known, and where to get them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pipelines import storage
from pipelines.converters.captions import convert_flickr30k_200, convert_xm3600, convert_xtd_10, convert_xtd_200
from pipelines.converters.cvqa import convert_cvqa
from pipelines.converters.folders import convert_babel, convert_folders
from pipelines.converters.published import Converted, Options, Published, write_set
from pipelines.converters.tables import convert_dollar_street, convert_geode, convert_landmarks
from pipelines.errors import UserError


@dataclass(frozen=True)
class Kind:
    """A published layout."""

    convert: Callable[[Published, Options], Converted]
    where: str  # to get it


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "folders": Kind(convert_folders, "its publisher, ImageNet's validation images from image-net.org"),
        "babel-imagenet": Kind(
            convert_babel, "image-net.org (validation images) and github.com/gregor-ge/Babel-ImageNet"
        ),
        "dollar-street": Kind(convert_dollar_street, "mlcommons.org/datasets/dollar-street"),
        "geode": Kind(convert_geode, "geodiverse-data-collection.cs.princeton.edu"),
        "gldv2": Kind(convert_landmarks, "github.com/cvdfoundation/google-landmark"),
        "xm3600": Kind(convert_xm3600, "google.github.io/crossmodal-3600"),
        "flickr30k-200": Kind(
            convert_flickr30k_200, "github.com/visheratin/nllb-clip (captions) and Flickr30k (images)"
        ),
        "xtd-10": Kind(convert_xtd_10, "github.com/adobe-research/Cross-lingual-Test-Dataset-XTD10 and COCO (images)"),
        "xtd-200": Kind(convert_xtd_200, "github.com/visheratin/nllb-clip (captions) and COCO (images)"),
        "cvqa": Kind(convert_cvqa, "huggingface.co/datasets/afaji/cvqa"),
    }
)


def convert_set(kind: str, source_uri: str, *, out_uri: str, options: Options) -> int:
    """Write the evaluation set of a published benchmark that lies at `source_uri`; the number of its images.

    Raises:
        UserError: the kind is not known, or the layout is not as it was published.
    """
    if kind not in KINDS:
        raise UserError(f"no published layout is called {kind!r}; known are {', '.join(KINDS)}")
    source = Published(storage.absolute(source_uri), KINDS[kind].where)
    if not storage.exists(source.uri):
        raise UserError(f"no {kind} at {source.uri}; get it from {source.where}")
    converted = KINDS[kind].convert(source, options)
    write_set(converted, storage.absolute(out_uri))
    return len(converted.rows)
