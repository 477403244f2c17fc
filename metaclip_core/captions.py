"""Captions as token ids: train a small tokenizer, and encode so that the end is always marked.

MetaCLIP 2 reads a caption's embedding at its first EOS, and a row without EOS is embedded at its first position,
silently. So the encoder writes BOS and EOS itself and admits no special id that comes from the caption's own text.
Torch is not imported here: whoever encodes computes nothing else, and starts in a second instead of four.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

BOS, PAD, EOS, UNK = "<s>", "<pad>", "</s>", "<unk>"
_SPECIAL_TOKENS = (BOS, PAD, EOS, UNK)  # ids 0 to 3, as in XLM-V
_BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))
_MAX_PIECE_LENGTH = 16  # characters; scripts without blanks would otherwise learn whole sentences


@dataclass(frozen=True)
class SpecialIds:
    """The ids that frame a caption."""

    bos: int
    eos: int
    pad: int


def special_ids(tokenizer: PreTrainedTokenizerFast) -> SpecialIds:
    """The framing ids of `tokenizer`.

    Raises:
        ValueError: BOS, EOS or PAD is missing, or one id serves as two of them: a pad that is the EOS too
            would be harmless, but an EOS that is the BOS would pool every caption at its first position.
    """
    ids = {"BOS": tokenizer.bos_token_id, "EOS": tokenizer.eos_token_id, "PAD": tokenizer.pad_token_id}
    missing = [name for name, token_id in ids.items() if token_id is None]
    if missing:
        raise ValueError(f"the tokenizer has no {' and no '.join(missing)} token; captions can't be framed with it")
    if ids["BOS"] == ids["EOS"]:
        raise ValueError(f"the tokenizer's BOS and EOS are the same token, id {ids['EOS']}; captions can't be pooled")
    return SpecialIds(bos=ids["BOS"], eos=ids["EOS"], pad=ids["PAD"])


def train_tokenizer(captions: Iterable[str], *, vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer with at most `vocab_size` pieces; the same captions in any order give the same one.

    Pieces never cross a blank, a digit stands alone, and a character outside the vocabulary becomes its UTF-8 bytes,
    so nothing is unknown. BPE and not Unigram: its integer counts add up to the same in any order of threads.

    Raises:
        ValueError: `vocab_size` leaves no room for pieces beside the special tokens and the 256 bytes.
    """
    reserved = len(_SPECIAL_TOKENS) + len(_BYTE_TOKENS)
    if vocab_size <= reserved:
        raise ValueError(f"vocab_size {vocab_size} must exceed {reserved}: the special tokens and the bytes")
    pieces = vocab_size - reserved
    trainee = _pipeline(models.BPE())
    trainee.train_from_iterator(
        captions,
        trainers.BpeTrainer(
            vocab_size=pieces,
            limit_alphabet=max(1, pieces // 2),
            max_token_length=_MAX_PIECE_LENGTH,
            show_progress=False,
        ),
    )
    learned = json.loads(trainee.to_str())["model"]
    ordered = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    vocabulary = {token: i for i, token in enumerate((*_SPECIAL_TOKENS, *_BYTE_TOKENS, *ordered))}
    merges = [(left, right) for left, right in learned["merges"]]
    tokenizer = _pipeline(models.BPE(vocab=vocabulary, merges=merges, unk_token=UNK, byte_fallback=True, fuse_unk=True))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _SPECIAL_TOKENS])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}", special_tokens=[(BOS, vocabulary[BOS]), (EOS, vocabulary[EOS])]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=BOS,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="right",
        split_special_tokens=True,  # for whoever loads the folder without our encoder
    )


def _pipeline(model: models.BPE) -> Tokenizer:
    """`model` behind the normalisation and the splits that training and encoding share."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Punctuation()]
    )
    return tokenizer


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Write the Hugging Face files of `tokenizer` into the local `directory`."""
    tokenizer.save_pretrained(directory)


class CaptionEncoder:
    """Captions → BOS, tokens, EOS; at most `context_length` ids, cut before the EOS.

    Raises:
        ValueError: a framing token is missing, or `context_length` has no room for one token between them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, context_length: int) -> None:
        frame = special_ids(tokenizer)
        if context_length < 3:  # noqa: PLR2004
            raise ValueError(f"context_length {context_length} must be at least 3: BOS, one token, EOS")
        self._tokenizer = tokenizer
        self._bos, self._eos = [frame.bos], [frame.eos]
        self._body_length = context_length - 2
        # Tokenizers of the Unigram kind list special tokens among their pieces, so that even text kept from the
        # matching of special tokens can yield them; those ids are left out.
        self._never_text = frozenset(tokenizer.all_special_ids) - {tokenizer.unk_token_id}

    def encode(self, captions: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """For each caption its ids, unpadded, with exactly one EOS, the last. `</s>` in a caption is plain text.

        Captions are well-formed text: lone surrogates, dropped on reading, are a TypeError here.
        """
        if not captions:
            return []
        bodies = self._tokenizer(
            list(captions),
            add_special_tokens=False,
            split_special_tokens=True,
            padding=False,
            truncation=False,
            return_attention_mask=False,
            verbose=False,
        )["input_ids"]
        return [self._frame(body) for body in bodies]

    def _frame(self, body: list[int]) -> npt.NDArray[np.int32]:
        if not self._never_text.isdisjoint(body):
            body = [token_id for token_id in body if token_id not in self._never_text]
        return np.array(self._bos + body[: self._body_length] + self._eos, dtype=np.int32)


def load_encoder(directory: Path, *, context_length: int) -> CaptionEncoder:
    """The encoder of a folder that `save_tokenizer` wrote, whatever kind of fast tokenizer it was given.

    Raises:
        ValueError: as `CaptionEncoder`.
    """
    tokenizer = PreTrainedTokenizerFast.from_pretrained(directory, local_files_only=True)
    return CaptionEncoder(tokenizer, context_length=context_length)
