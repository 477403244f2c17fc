"""Evaluation: images/s against a plain loop, class names the second time, and measures against clip-benchmark's.

python -m tests.benchmarks.evaluate rate
python -m tests.benchmarks.evaluate names
python -m tests.benchmarks.evaluate equal     # in an environment with `pip install --no-deps clip-benchmark`
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from metaclip_core.evaluation.classification import mean_direction, top_k_accuracy
from metaclip_core.evaluation.retrieval import recall_at_k
from metaclip_core.model import create_model
from metaclip_core.model_folder import save_model
from metaclip_core.records import DropReason
from metaclip_core.shapes import SHAPES, Preset
from pipelines.class_names import ClassNames
from pipelines.cluster import connected
from pipelines.config.compute import ComputeConfig
from pipelines.embed import MAX_PIXELS, DataEmbedder
from pipelines.evaluation_sets import StoredImages
from pipelines.models import load_encoder, model_digest
from tests import pictures
from tests.benchmarks.measure import provenance
from tests.small_models import small_tokenizer

BATCH_ROWS = 32
CORES = 2
PRESET = Preset.B_32


def write_model(folder):
    """A fresh model of a published shape, but for its vocabulary."""
    folder.mkdir()
    tokenizer = small_tokenizer()
    save_model(create_model(SHAPES[PRESET], tokenizer, seed=0).eval(), tokenizer, folder)
    return str(folder)


def write_images(path, num_images):
    """JPEGs of 320 × 256 pixels."""
    rng = np.random.default_rng(0)
    kinds = list(pictures.KINDS.values())
    made = [
        kinds[row % len(kinds)](rng).convert("RGB").resize((320, 256), Image.Resampling.BICUBIC) for row in range(64)
    ]
    images = [pictures.encoded(picture, quality=90) for picture in made]
    table = pa.table({"image": pa.array([images[row % 64] for row in range(num_images)], pa.binary())})
    pq.write_table(table, path, row_group_size=BATCH_ROWS)
    return StoredImages.open(str(path))


class Pace:
    """Rows a second from the first rows on, so that starts and loading do not count."""

    def __init__(self):
        self._seen = []

    def __call__(self, _step, done, _of):
        if done:
            self._seen.append((time.perf_counter(), done))

    @property
    def rate(self):
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - start)


def plain(model, stored):
    """What one writes first: read, decode, embed, batch after batch, with all cores for torch."""
    torch.set_num_threads(CORES)
    encoder, pace, done = load_encoder(model), Pace(), 0
    for part in stored.parts(range(len(stored.part_rows))):
        pixels = [encoder.preprocessing.pixels(image, max_pixels=MAX_PIXELS) for image in part["image"].to_pylist()]
        assert not any(isinstance(made, DropReason) for made in pixels)
        encoder.images(np.stack(pixels))
        done += part.num_rows
        pace("plain", done, stored.num_images)
    return pace.rate


def through_ray(model, stored, compute):
    """The stage."""
    pace = Pace()
    DataEmbedder(model, batch_rows=BATCH_ROWS, compute=compute).embed([stored], [], progress=pace)
    return pace.rate


def rate(arguments, folder):
    model, stored = write_model(folder / "model"), write_images(folder / "images.parquet", arguments.images)
    compute = ComputeConfig(local_cpus=4, object_store_mb=300, max_actors=CORES, worker_threads=1)
    contenders = {
        "plain loop, 2 threads": lambda: plain(model, stored),
        "Ray Data, 2 actors of 1 thread": lambda: through_ray(model, stored, compute),
    }
    found = {name: [] for name in contenders}
    with connected(compute):
        for _ in range(arguments.rounds):
            for name, contender in contenders.items():
                found[name].append(contender())
                print(f"{name}: {found[name][-1]:.1f} images/s", flush=True)
    print(f"\n{stored.num_images} images, {PRESET}, medians of {arguments.rounds} interleaved rounds\n")
    print("| | images/s | × the loop of its round |\n|---|---|---|")
    for name, rates in found.items():
        ratios = [own / base for own, base in zip(rates, found["plain loop, 2 threads"], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {statistics.median(rates):.1f} | {spread} |")


def names(arguments, folder):
    model = write_model(folder / "model")
    templates = ("a", "the", "my")
    prompts = {
        language: [[f"{template} {language} {row}" for template in templates] for row in range(arguments.classes)]
        for language in ("en", "de", "ja")
    }
    compute = ComputeConfig(local_cpus=4, object_store_mb=300, max_actors=CORES, worker_threads=1)
    with connected(compute):
        for time_of in ("first", "second"):
            start = time.perf_counter()
            class_names = ClassNames(str(folder / "root"), model_digest=model_digest(model))
            found = class_names.read(prompts)
            missing = {language: of_classes for language, of_classes in prompts.items() if language not in found}
            if missing:
                flat = [of_class for of_classes in missing.values() for of_class in of_classes]
                embedded = DataEmbedder(model, batch_rows=BATCH_ROWS, compute=compute).embed([], flat).prompts
                split = torch.split(embedded, [len(of_classes) for of_classes in missing.values()])
                class_names.write(missing, dict(zip(missing, split, strict=True)))
            print(f"| {time_of} evaluation, text side, s | {time.perf_counter() - start:.2f} |")


class Loader(list):
    """Batches of embeddings."""

    def __init__(self, batches, classes):
        super().__init__(batches)
        self.dataset = type("Data", (), {"classes": classes})


class Given:
    """A model whose embeddings are given: an image is its embedding, a text its row."""

    def __init__(self, texts):
        self._texts = texts

    def encode_image(self, images):
        return images

    def encode_text(self, rows):
        return self._texts[rows]


def unit(rows, generator):
    return torch.nn.functional.normalize(torch.randn(rows, 32, generator=generator), dim=1)


def classified(seed):
    """(theirs, ours) of 500 images in 40 classes of 3 templates."""
    from clip_benchmark.metrics import zeroshot_classification as theirs  # noqa: PLC0415 - of another environment

    generator = torch.Generator().manual_seed(seed)
    images, texts = unit(500, generator), unit(3 * 40, generator)
    labels = torch.randint(0, 40, (500,), generator=generator)
    rows = {f"{template} {name}": 3 * name + template for name in range(40) for template in range(3)}
    names, templates = [str(name) for name in range(40)], ["0 {c}", "1 {c}", "2 {c}"]
    classes = theirs.zero_shot_classifier(
        Given(texts), lambda given: torch.tensor([rows[text] for text in given]), names, templates, "cpu", amp=False
    )
    batches = Loader(zip(images.split(100), labels.split(100), strict=True), names)
    logits, target = theirs.run_classification(Given(texts), classes, batches, "cpu", amp=False)
    # its `accuracy` in other words, for that does not run with NumPy 2.4
    correct = logits.topk(5, 1).indices.eq(target[:, None])
    expected = [correct[:, :1].any(1).double().mean().item(), correct.any(1).double().mean().item()]
    expected.append(theirs.balanced_accuracy_score(target, logits.argmax(1)))
    ours = top_k_accuracy(
        images, torch.stack([mean_direction(of_class) for of_class in texts.split(3)]), labels, ks=(1, 5)
    )
    return zip(expected, [ours.top[1].share, ours.top[5].share, ours.top_per_class[1]], strict=True)


def retrieved(seed):
    """(theirs, ours) of 500 images with two captions each."""
    from clip_benchmark.metrics import zeroshot_retrieval as theirs  # noqa: PLC0415 - of another environment

    generator = torch.Generator().manual_seed(seed)
    images, owner = unit(500, generator), torch.arange(500).repeat_interleave(2)
    captions = torch.nn.functional.normalize(images[owner] + unit(1000, generator), dim=1)
    batches = [(images[s : s + 100], [[2 * i, 2 * i + 1] for i in range(s, s + 100)]) for s in range(0, 500, 100)]
    expected = theirs.evaluate(Given(captions), batches, torch.tensor, "cpu", amp=False, recall_k_list=[1, 5, 10])
    ours = recall_at_k(images, captions, owner, ks=(1, 5, 10))
    for k in (1, 5, 10):
        yield expected[f"text_retrieval_recall@{k}"], ours.image_to_text[k].share
        yield expected[f"image_retrieval_recall@{k}"], ours.text_to_image[k].share


def equal(arguments, _):
    pairs = [pair for seed in range(arguments.seeds) for found in (classified, retrieved) for pair in found(seed)]
    worst = max(abs(theirs - ours) for theirs, ours in pairs)
    print(f"| largest difference from clip-benchmark's, {arguments.seeds} seeds, 9 measures | {worst:.1e} |")


def main():
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rate", "names", "equal"))
    parser.add_argument("--images", type=int, default=1_024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray spells it so; as the plain loop; Ray's workers otherwise give way to everybody
    print(provenance())
    with tempfile.TemporaryDirectory() as folder:
        {"rate": rate, "names": names, "equal": equal}[arguments.what](arguments, Path(folder))


if __name__ == "__main__":
    main()
