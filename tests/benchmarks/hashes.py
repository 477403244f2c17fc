"""Near-duplicates among generated pictures: what is found, what is wrongly removed, and what it costs.

python -m tests.benchmarks.hashes recall
python -m tests.benchmarks.hashes rate
python -m tests.benchmarks.hashes cores
python -m tests.benchmarks.hashes search
"""

import argparse
import io
import itertools
import multiprocessing
import statistics
import time
from collections import defaultdict
from functools import partial

import imagehash
import numpy as np
import pyarrow as pa
from PIL import Image

from metaclip_core.image_hashes import look
from metaclip_core.near_groups import EDGES, find_edges, resolve
from metaclip_core.near_index import LookIndex
from metaclip_core.neighbours import NUM_BANDS, Looks, hash_distance, keys
from metaclip_core.records import IMAGE_HASH
from tests.benchmarks.measure import interleaved, provenance
from tests.pictures import BLACK, KINDS, LOW_TEXTURE, WHITE, bordered, colour, copies, encoded, lossless, photos, scaled

LIMIT = 100_000_000
DISTANCES = (11, 15, 20, 24, 31)
DISTANCE = 20
OTHER_BORDERS = (0.01, 0.015, 0.025, 0.03)
ROUNDS = 5


def distinct(num_each, rng):
    """(kind, bytes) of pictures that are not copies of each other."""
    makers = [*((kind, KINDS[kind]) for kind in KINDS for _ in range(num_each))]
    pictures = itertools.chain(((kind, make(rng)) for kind, make in makers), (("photo", photo) for photo in photos()))
    for kind, picture in pictures:
        yield kind, lossless(picture) if rng.random() < 0.3 else encoded(picture)


def looks_of(images):
    """Looks of encoded images and what the library alone makes of them."""
    rows, plain = [], []
    for number, data in enumerate(images):
        rows += [{"row": number, **form} for form in look(data, max_pixels=LIMIT)]
        plain.append(np.packbits(imagehash.phash(Image.open(io.BytesIO(data)), hash_size=16).hash).view(np.uint64))
    table = pa.Table.from_pylist(rows, IMAGE_HASH)
    return Looks.from_table(table, table["row"].to_numpy().astype(np.int64)), np.array(plain)


def removed(looks, distance):
    """Numbers of the images that go."""
    tables = [find_edges(looks, *found, distance=distance).table for found in keys(looks)]
    return set(resolve(pa.concat_tables([EDGES.empty_table(), *tables]))[0].tolist())


def removed_by_library(plain, distance):
    """Likewise by the library's hash alone."""
    return {
        later
        for later in range(1, len(plain))
        if (np.bitwise_count(plain[:later] ^ plain[later]).sum(axis=1) <= distance).any()
    }


def recall(arguments):
    """Prints the tables of what is found and what is wrongly removed."""
    rng = np.random.default_rng(arguments.seed)
    started = time.process_time()
    kinds, originals = zip(*distinct(arguments.each, rng), strict=True)
    looks, plain = looks_of(originals)
    chosen = rng.permutation(len(originals))[: arguments.originals]
    made, source = [], []
    for number in chosen.tolist():
        picture = Image.open(io.BytesIO(originals[number])).convert("RGB")
        fill = (WHITE, BLACK, colour(rng))[rng.integers(3)]
        others = {f"border of {share:.1%}": encoded(bordered(picture, fill, share=share)) for share in OTHER_BORDERS}
        for how, data in {**copies(picture, rng), **others}.items():
            made.append((kinds[number], how))
            source.append((number, data))
    copied, plain_copied = looks_of([data for _, data in source])
    numbers = np.array([number for number, _ in source])
    asked = np.array([not how.startswith("border of") for _, how in made])
    low = np.array([kind in LOW_TEXTURE for kind, _ in made])
    print(f"{provenance()}\n{len(originals):,} distinct images, {asked.sum():,} copies of {len(chosen)} of them")
    print("\n| distance | found | of them with texture | wrongly removed | library alone: found | wrongly removed |")
    print("|---|---|---|---|---|---|")
    for distance in DISTANCES:
        found = found_copies(looks, copied, numbers, distance)
        alone = np.bitwise_count(plain[numbers] ^ plain_copied).sum(axis=1) <= distance
        gone, gone_alone = removed(looks, distance), removed_by_library(plain, distance)
        print(
            f"| {distance} | {found[asked].mean():.2%} | {found[asked & ~low].mean():.2%} "
            f"| {len(gone)} = {len(gone) / len(originals):.3%} | {alone[asked].mean():.2%} "
            f"| {len(gone_alone)} = {len(gone_alone) / len(originals):.3%} |"
        )
        if distance == DISTANCE:
            by_how, by_kind = defaultdict(list), defaultdict(list)
            for (kind, how), hit, counts in zip(made, found.tolist(), asked.tolist(), strict=True):
                by_how[how].append(hit)
                if counts:
                    by_kind[kind].append(hit)
            shown = [sorted(kinds[number] for number in gone), [made[row] for row in np.flatnonzero(~found & asked)]]
    for name, groups in (("copy", by_how), ("picture", by_kind)):
        print(f"\n| {name} | copies | found at {DISTANCE} |\n|---|---|---|")
        for group, hits in groups.items():
            print(f"| {group} | {len(hits)} | {np.mean(hits):.2%} |")
    print(f"\nwrongly removed: {shown[0]}\n\nnot found: {shown[1]}\n\n{bands_lost(looks, copied, numbers)}")
    print(f"\n{len(looks) / len(originals):.2f} forms an image; {time.process_time() - started:.0f} s of CPU")


def found_copies(looks, copied, numbers, distance):
    """Which copies are nearest to the image that they were made from."""
    nearest = LookIndex(looks).nearest(copied, distance=distance)
    found = np.zeros(len(numbers), bool)
    found[nearest.image] = looks.image[nearest.row] == numbers[nearest.image]
    return found


def bands_lost(looks, copied, numbers):
    """How many copies within the distance share no band with their image."""
    ours = [np.flatnonzero(looks.image == number) for number in range(int(looks.image.max()) + 1)]
    bands, rows = zip(*itertools.islice(keys(looks), NUM_BANDS), strict=True)
    place = np.full(len(looks), -1)
    place[rows[0]] = np.arange(len(rows[0]))
    theirs, their_rows = zip(*itertools.islice(keys(copied), NUM_BANDS), strict=True)
    bands, theirs = np.stack(bands), np.stack(theirs)
    within, shares = set(), set()
    for column, row in enumerate(their_rows[0].tolist()):
        image = int(copied.image[row])
        own = ours[int(numbers[image])]
        own = own[place[own] >= 0]
        close = hash_distance(looks.take(own), copied.take(np.full(len(own), row))) <= DISTANCE
        for form in own[close].tolist():
            within.add(image)
            if (bands[:, place[form]] == theirs[:, column]).any():
                shares.add(image)
    return f"of {len(within):,} copies with structure within {DISTANCE} bits, {len(within - shares)} share no band"


def sized(rng, *, scale, count):
    """Encoded pictures for the measurement of rates; those with a photo's detail among them."""
    pictures = [make(rng) for make in KINDS.values() for _ in range(count)] + list(
        itertools.islice(photos(), 3 * count)
    )
    return [encoded(scaled(picture, scale)) for picture in pictures]


def hash_all(images):
    """Our road."""
    for data in images:
        look(data, max_pixels=LIMIT)


def hash_all_by_library(images):
    """The library's own loop."""
    for data in images:
        imagehash.phash(Image.open(io.BytesIO(data)), hash_size=16)


def rate(_arguments):
    """Prints CPU seconds and ratios for pictures of two sizes."""
    print(f"{provenance()}\n| pictures | library's loop, images/s | ours, images/s | ratio |\n|---|---|---|---|")
    for scale in (1, 2):
        images = sized(np.random.default_rng(0), scale=scale, count=6)
        contenders = {"library": partial(hash_all_by_library, images), "ours": partial(hash_all, images)}
        seconds, ratios = interleaved(contenders, rounds=ROUNDS)
        sides = [max(Image.open(io.BytesIO(data)).size) for data in images]
        per_s = [len(images) / seconds[name] for name in ("library", "ours")]
        print(
            f"| {len(images)} JPEGs, longer side {min(sides)} to {max(sides)} | {per_s[0]:,.0f} | {per_s[1]:,.0f} "
            f"| {ratios['ours']:.2f} |"
        )


def _timed(images, barrier, results):
    barrier.wait()
    wall, cpu = time.perf_counter(), time.process_time()
    hash_all(images)
    results.put((time.perf_counter() - wall, time.process_time() - cpu))


def _together(images, num_processes):
    """Longest wall seconds and mean CPU seconds of processes that each hash all images at the same time."""
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(num_processes), context.Queue()
    processes = [context.Process(target=_timed, args=(images, barrier, results)) for _ in range(num_processes)]
    for process in processes:
        process.start()
    taken = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return max(wall for wall, _ in taken), statistics.mean(cpu for _, cpu in taken)


def cores(_arguments):
    """Prints how much of twice the rate two processes reach."""
    images = sized(np.random.default_rng(0), scale=1, count=6)
    walls, cpus = [], []
    for _ in range(ROUNDS):
        (wall_1, cpu_1), (wall_2, cpu_2) = _together(images, 1), _together(images, 2)
        walls.append(wall_1 / wall_2)
        cpus.append(cpu_1 / cpu_2)
    print(
        f"{provenance()}\nefficiency of two processes, medians of {ROUNDS}: wall {statistics.median(walls):.0%} "
        f"({min(walls):.0%} to {max(walls):.0%}), CPU seconds {statistics.median(cpus):.0%}"
    )


def search(arguments):
    """Prints what finding near-duplicates among random looks costs."""
    print(f"{provenance()}\n| forms | CPU s | forms/s | compared pairs | near pairs |\n|---|---|---|---|---|")
    for size in (arguments.forms // 4, arguments.forms):
        looks = random_looks(size)
        started = time.process_time()
        found = [(values, find_edges(looks, values, rows, distance=DISTANCE)) for values, rows in keys(looks)]
        taken = time.process_time() - started
        sizes = [np.unique(values, return_counts=True)[1].astype(np.int64) for values, _ in found]
        compared = sum(int((counts * (counts - 1) // 2).sum()) for counts in sizes)
        near = pa.concat_tables([edges.table for _, edges in found]).group_by(["earlier", "later"]).aggregate([])
        print(f"| {size:,} | {taken:.1f} | {size / taken:,.0f} | {compared:,} | {near.num_rows:,} |")


def random_looks(size):
    """A tenth of the forms are copies with some bits flipped."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (size, 32)).astype(np.uint8)
    copied = rng.permutation(size)[: size // 10]
    hashes[copied] = hashes[rng.integers(0, size, len(copied))]
    hashes[copied, rng.integers(0, 32, len(copied))] ^= rng.integers(0, 256, len(copied)).astype(np.uint8)
    return Looks(
        np.arange(size),
        rng.integers(0, 2**63, (size, 2)).astype(np.uint64),
        hashes.view(np.uint64),
        np.full((size, 48), 128, np.int16),
        np.full(size, 100, np.uint8),
        np.zeros(size, np.float32),
    )


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for command in (recall, rate, cores, search):
        options = commands.add_parser(command.__name__)
        options.set_defaults(run=command)
        if command is recall:
            options.add_argument("--each", type=int, default=350, help="pictures of each kind")
            options.add_argument("--originals", type=int, default=700, help="pictures that are copied")
            options.add_argument("--seed", type=int, default=0)
        if command is search:
            options.add_argument("--forms", type=int, default=1_000_000)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
