"""Peak memory of a step in chunks: `python -m tests.benchmarks.gradient_cache`.

Each case is a process of its own, whose peak resident memory is taken less what it had before the step. A chunk always
has as many pairs, so that the global batch grows with the chunks. The C library is told to give memory back at once,
for what it keeps in its heap is no tensor's.
"""

import argparse
import os
import resource
import subprocess
import sys

import psutil
import torch

from metaclip_core.gradient_cache import backward_in_chunks
from metaclip_core.loss import contrastive_loss
from metaclip_core.model import create_model, encode_pairs
from metaclip_core.shapes import ModelShape, TowerShape
from tests.benchmarks.measure import provenance
from tests.small_models import small_tokenizer

SHAPE = ModelShape(64, 16, TowerShape(256, 4, 4), TowerShape(256, 2, 4), 32, 256)
MIB = 2**20


def chunk_of(rows, number):
    generator = torch.Generator().manual_seed(number)
    pixels = torch.randint(
        0, 256, (rows, 3, SHAPE.image_size, SHAPE.image_size), dtype=torch.uint8, generator=generator
    )
    input_ids = torch.randint(4, 300, (rows, SHAPE.context_length), generator=generator)
    input_ids[:, -1] = 2
    return pixels, input_ids


def step(num_chunks, rows):
    """One process: MiB that the step added to the peak."""
    model = create_model(SHAPE, small_tokenizer(), seed=0).train()

    def encode(chunk):
        return encode_pairs(model, *chunk)

    chunks = [chunk_of(rows, number) for number in range(num_chunks)]
    # kernels and gradients are there before the step
    backward_in_chunks(encode, [chunk_of(2, 0), chunk_of(2, 1)], contrastive_loss, [model.logit_scale])
    before = psutil.Process().memory_info().rss
    backward_in_chunks(encode, chunks, contrastive_loss, [model.logit_scale])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print((peak - before) / MIB)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=32, help="pairs of a chunk")
    parser.add_argument("--step", type=int, help="measure a step of so many chunks, in this process")
    arguments = parser.parse_args()
    if arguments.step:
        step(arguments.step, arguments.rows)
        return
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    print(provenance())
    print(f"chunks of {arguments.rows} pairs\n\n| chunks | global batch | MiB that the step adds |\n|---|---|---|")
    for num_chunks in (1, 4, 16, 64):
        command = [sys.executable, "-m", "tests.benchmarks.gradient_cache", "--rows", str(arguments.rows)]
        run = subprocess.run(
            [*command, "--step", str(num_chunks)], capture_output=True, text=True, check=True, env=environment
        )
        print(f"| {num_chunks} | {num_chunks * arguments.rows} | {float(run.stdout):.0f} |", flush=True)


if __name__ == "__main__":
    main()
