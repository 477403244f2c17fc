"""Decoding large JPEGs at a fraction of their size: how much faster that is, and how different.

python -m tests.benchmarks.decode
"""

import argparse
from itertools import islice

import numpy as np
from PIL import Image

from metaclip_core.images import Crop, decode
from tests import pictures
from tests.benchmarks.measure import interleaved, provenance

SIDE, IMAGE_SIZE = 1024, 224
GRAIN = 4  # grey levels of noise, as of a sensor


def jpegs(each):
    """Pictures of every kind, 1,024 pixels wide and high, with grain."""
    rng = np.random.default_rng(0)
    made = [make(rng) for make in pictures.KINDS.values() for _ in range(each)]
    made += islice(pictures.photos(), 4 * each)
    return [pictures.encoded(_grainy(picture.convert("RGB"), rng), quality=85) for picture in made]


def _grainy(picture, rng):
    pixels = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    grain = rng.normal(0, GRAIN, (SIDE, SIDE, 1))
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=3, help="pictures of each kind")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    images = jpegs(arguments.each)
    rng = np.random.default_rng(1)
    crops = [Crop(*rng.random(4).tolist()) for _ in images]

    def all_of(*, reduced):
        return [
            decode(image, image_size=IMAGE_SIZE, max_pixels=10**8, crop=crop, reduced=reduced)
            for image, crop in zip(images, crops, strict=True)
        ]

    contenders = {"full": lambda: all_of(reduced=False), "reduced": lambda: all_of(reduced=True)}
    seconds, ratios = interleaved(contenders, rounds=arguments.rounds)
    both = zip(*(contender() for contender in contenders.values()), strict=True)
    differences = [np.abs(full.astype(int) - reduced).mean() for full, reduced in both]
    print(provenance())
    print(f"{len(images)} JPEGs of {SIDE} × {SIDE} pixels to {IMAGE_SIZE}, random crops\n")
    print("| | ms an image, CPU | ratio |\n|---|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {1000 * taken / len(images):.1f} | {ratios[name]:.2f} |")
    print(f"\nmean absolute difference, of 255: {np.mean(differences):.2f}, at most {max(differences):.2f} of an image")


if __name__ == "__main__":
    main()
