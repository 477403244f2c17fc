"""The tokenizer of a Hugging Face folder, whoever published it."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerFast


def load_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a local Hugging Face folder; no code of the folder is run, nothing is downloaded.

    Raises:
        ValueError: the folder holds no tokenizer, or not a fast one.
    """
    if not (directory / "tokenizer.json").is_file() and not (directory / "tokenizer_config.json").is_file():
        raise ValueError(f"{directory} holds no tokenizer: neither tokenizer.json nor tokenizer_config.json")
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ValueError(f"{directory} holds a {type(tokenizer).__name__}, expected a fast tokenizer")  # noqa: TRY004
    return tokenizer
