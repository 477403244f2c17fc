"""A training step of ViT-B/32 against open_clip's: forward, loss, backward, optimiser; the same weights and captions.

python -m tests.benchmarks.train_step

Captions have the lengths of two published corpora of alt-texts (arXiv 2102.08981, table 1): CC3M's 10.3 ± 4.5 words and
CC12M's 20.2 ± 16.3, taken as log-normal, and 1.3 tokens for a word. open_clip gets them padded to 77 tokens, and is
trained as its own program does it. Ours gets the same ids, once padded likewise and once trimmed in groups of similar
length, as a training does it.
"""

import argparse
import copy
import statistics
import time

import numpy as np
import open_clip
import torch

from metaclip_core.batches import caption_buckets
from metaclip_core.caption_groups import group_captions
from metaclip_core.captions import SpecialIds
from metaclip_core.export import open_clip_config, open_clip_weights
from metaclip_core.loss import contrastive_loss
from metaclip_core.model import MetaClip2Model, model_config
from metaclip_core.optimizer import clamp_logit_scale_, create_optimizer
from metaclip_core.pair_encoder import PairEncoder, encode_batch
from metaclip_core.shapes import SHAPES, Preset
from tests.benchmarks.measure import provenance
from tests.small_models import small_tokenizer

SHAPE = SHAPES[Preset.B_32]
VOCABULARY, CONTEXT = 49_408, 77  # CLIP's own; worldwide's 901,629 would make it a benchmark of the optimiser
FRAME = SpecialIds(bos=0, eos=2, pad=1)
CORPORA = {"CC3M": (10.3, 4.5), "CC12M": (20.2, 16.3)}  # words of a caption, mean and deviation
TOKENS_PER_WORD = 1.3
OPTIMISER = {"lr": 4e-4, "betas": (0.9, 0.98), "eps": 1e-6}
WEIGHT_DECAY = 0.2


def captions(corpus, rows, seed):
    """Token ids of captions, framed, with the corpus's lengths."""
    mean, deviation = CORPORA[corpus]
    sigma = np.sqrt(np.log1p((deviation / mean) ** 2))
    rng = np.random.default_rng(seed)
    words = rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, rows)
    lengths = np.clip(np.rint(words * TOKENS_PER_WORD), 1, CONTEXT - 2).astype(int)
    return [[FRAME.bos, *rng.integers(4, VOCABULARY, length).tolist(), FRAME.eos] for length in lengths]


def fresh_model():
    torch.manual_seed(0)
    return MetaClip2Model(model_config(SHAPE, vocab_size=VOCABULARY, frame=FRAME)).train()


class Ours:
    """A step of ours; captions in groups of `group_rows`, or padded to the context."""

    def __init__(self, model, group_rows):
        self.model = model
        self._group_rows = group_rows
        self._encoder = PairEncoder(model)
        self._optimizer = create_optimizer(
            model,
            learning_rate=OPTIMISER["lr"],
            betas=OPTIMISER["betas"],
            eps=OPTIMISER["eps"],
            weight_decay=WEIGHT_DECAY,
        )

    def __call__(self, pixels, ids):
        buckets = caption_buckets(CONTEXT) if self._group_rows else (CONTEXT,)
        groups = group_captions(ids, group_rows=self._group_rows or len(ids), buckets=buckets, pad_id=FRAME.pad)
        self._optimizer.zero_grad(set_to_none=True)
        embedded = encode_batch(self._encoder, pixels, groups)
        loss = contrastive_loss(embedded.images, embedded.texts, self.model.logit_scale)
        loss.backward()
        self._optimizer.step()
        clamp_logit_scale_(self.model)
        return loss.item()


class Theirs:
    """A step of open_clip, by its own model and loss, and the optimiser of its training program."""

    def __init__(self, model):
        config = open_clip_config(model, small_tokenizer())
        del config["text_cfg"]["hf_tokenizer_name"]
        config["text_cfg"]["eos_id"] = FRAME.eos
        self.model = open_clip.CLIP(**config)
        self.model.load_state_dict(open_clip_weights(model), strict=False)
        self.model.train()
        decays = [p for p in self.model.parameters() if p.ndim >= 2]
        others = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [{"params": others, "weight_decay": 0.0}, {"params": decays, "weight_decay": WEIGHT_DECAY}]
        self._optimizer = torch.optim.AdamW(groups, **OPTIMISER)
        self._loss = open_clip.ClipLoss()
        self._mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
        self._deviation = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)

    def __call__(self, pixels, ids):
        tokens = torch.full((len(ids), CONTEXT), FRAME.pad)
        for row, caption in enumerate(ids):
            tokens[row, : len(caption)] = torch.tensor(caption)
        images = (pixels.float() / 255 - self._mean) / self._deviation
        self._optimizer.zero_grad()
        loss = self._loss(*self.model(images, tokens))
        loss.backward()
        self._optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, np.log(100))
        return loss.item()


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=64, help="pairs of a batch")
    parser.add_argument("--group-rows", type=int, default=8, help="captions that are padded together")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    model = fresh_model()
    contenders = {
        "open_clip": Theirs(model),
        "ours, padded to 77": Ours(copy.deepcopy(model), None),
        "ours, trimmed": Ours(model, arguments.group_rows),
    }
    print(provenance())
    print(f"batches of {arguments.rows} pairs, {torch.get_num_threads()} threads, float32; ", end="")
    print(f"medians of {arguments.rounds} interleaved rounds, each a step with the next batch\n")
    print("| lengths | mean tokens | contender | s a step | rate against open_clip's | loss of the last step |")
    print("|---|---|---|---|---|---|")
    for corpus in CORPORA:
        compare(corpus, contenders, arguments)


def compare(corpus, contenders, arguments):
    taken, losses = {name: [] for name in contenders}, {}
    generator = torch.Generator().manual_seed(0)
    for number in range(arguments.rounds + 1):  # the first warms up
        size = (arguments.rows, 3, SHAPE.image_size, SHAPE.image_size)
        pixels = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
        ids = captions(corpus, arguments.rows, number)
        for name, step in contenders.items():
            started = time.perf_counter()
            losses[name] = step(pixels, ids)
            if number:
                taken[name].append(time.perf_counter() - started)
    tokens = statistics.fmean(len(ids) for ids in captions(corpus, 20_000, 0))
    for name, seconds in taken.items():
        ratio = statistics.median(base / own for base, own in zip(taken["open_clip"], seconds, strict=True))
        figures = f"{statistics.median(seconds):.2f} | {ratio:.2f} | {losses[name]:.6f}"
        print(f"| {corpus} | {tokens:.1f} | {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
