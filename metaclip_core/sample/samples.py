"""One sample of the pool, by its index alone: image, document and the truth about both."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metaclip_core.sample.captions import Text, draw_texts
from metaclip_core.sample.digits import NumberImage, draw_number, split_scans
from metaclip_core.sample.furniture import SHARES, Furniture, document_bytes, furnish_texts, image_bytes
from metaclip_core.sample.seeding import Purpose, generator, pick, zipf_shares
from metaclip_core.sample.words import NUM_NUMBERS

_NUMBER_EXPONENT = 0.6
_FORMAT_SHARES = np.array([0.6, 0.2, 0.2])
_SUFFIXES = ("jpg", "png", "webp")
_HOSTS = ("numbers.example", "img.zahlen.example", "cdn.nombres.example", "suuji.example")


@dataclass(frozen=True)
class Sample:
    """A sample as it is stored, and what is known about it."""

    key: str
    suffix: str  # of the image: jpg, png or webp
    image: bytes | None
    document: bytes | None
    url: str
    number: int
    scans: tuple[int, ...]
    texts: tuple[Text, Text]
    furniture: Furniture


@dataclass(frozen=True)
class SamplePool:
    """The pool of one seed: `num_images` samples in shards of `shard_rows`, each computed from its index alone."""

    num_images: int
    shard_rows: int
    seed: int

    @property
    def num_shards(self) -> int:
        """Shards of the pool; the last one may hold fewer rows."""
        return -(-self.num_images // self.shard_rows)

    def shard_indices(self, shard: int) -> range:
        """Indices of the samples of `shard`."""
        return range(shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.num_images))

    def sample(self, index: int) -> Sample:
        """The sample at `index`."""
        furniture, origin = self._furniture(index)
        rng = generator(self.seed, Purpose.IMAGE, origin)
        number = pick(rng, _number_shares())
        drawn = draw_number(number, split_scans(self.seed).pool, rng)
        suffix, encoded = _encode(drawn, rng)
        if furniture is Furniture.HUGE_IMAGE:
            suffix = "png"
        text_rng = generator(self.seed, Purpose.TEXT, index if furniture is Furniture.RECAPTIONED else origin)
        texts = furnish_texts(draw_texts(number, text_rng), furniture, text_rng)
        url = f"https://{_HOSTS[origin % len(_HOSTS)]}/{2009 + origin % 16}/{origin:08d}.{suffix}"
        return Sample(
            key=f"{index:08d}.v1.5" if furniture is Furniture.DOTTED_KEY else f"{index:08d}",
            suffix=suffix,
            image=image_bytes(encoded, furniture, rng),
            document=document_bytes(url, texts, furniture),
            url=url,
            number=number,
            scans=drawn.scans,
            texts=texts,
            furniture=furniture,
        )

    def _furniture(self, index: int) -> tuple[Furniture, int]:
        """What is odd about the sample at `index`, and the index whose image and URL it shows."""
        if index == self._huge_index:
            return Furniture.HUGE_IMAGE, index
        kinds, shares = _furniture_shares()
        rng = generator(self.seed, Purpose.FURNITURE, index)
        furniture = kinds[pick(rng, shares)]
        if furniture not in (Furniture.REPEATED, Furniture.RECAPTIONED):
            return furniture, index
        num_before = index // self.shard_rows * self.shard_rows
        if not num_before:
            return Furniture.NONE, index
        while True:
            origin = int(rng.integers(num_before))
            if self._furniture(origin)[0] is Furniture.NONE:
                return furniture, origin

    @property
    def _huge_index(self) -> int:
        return self.num_images // 3


@cache
def _number_shares() -> NDArray[np.float64]:
    """Shares of the numbers 0 to 99: small ones are the frequent ones, as in the world."""
    return zipf_shares(NUM_NUMBERS, exponent=_NUMBER_EXPONENT)


@cache
def _furniture_shares() -> tuple[tuple[Furniture, ...], NDArray[np.float64]]:
    shares = np.array(list(SHARES.values()))
    return (*SHARES, Furniture.NONE), np.append(shares, 1 - shares.sum())


def encode_png(drawn: NumberImage) -> bytes:
    """The image as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(drawn.pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _encode(drawn: NumberImage, rng: np.random.Generator) -> tuple[str, bytes]:
    """The image's suffix and bytes, in a format and of a quality that vary."""
    suffix = _SUFFIXES[pick(rng, _FORMAT_SHARES)]
    quality = int(rng.integers(75, 96))
    if suffix == "png":
        return suffix, encode_png(drawn)
    buffer = io.BytesIO()
    if suffix == "jpg":
        Image.fromarray(drawn.pixels).save(buffer, "JPEG", quality=quality)
    else:
        Image.fromarray(drawn.pixels).save(buffer, "WEBP", quality=quality, method=2)
    return suffix, buffer.getvalue()
