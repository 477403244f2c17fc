"""Entries and captions of realistic shape: real words by frequency (wordfreq), put together as metadata and the web."""

import functools
import itertools
import random

import wordfreq

# Shares of the published English metadata: unigrams, bigrams, titles; the rest is WordNet.
_UNIGRAMS, _BIGRAMS, _TITLES = 0.503, 0.201, 0.123
_COMMON = 20_000  # words that bigrams and titles are made of
_JOINS_WORDS = frozenset({"zh", "ja"})


@functools.lru_cache(maxsize=64)
def words(language):
    """Words of a language, the most frequent first."""
    return [word for word in wordfreq.top_n_list(language, 600_000, wordlist="best") if not word.isdigit()]


def real_languages():
    """Languages with words, those with the most first."""
    return sorted(wordfreq.available_languages("best"), key=lambda language: (-len(words(language)), language))


def entries(language, num_entries, *, seed=0):
    """At most `num_entries` different entries: unigrams, bigrams, titles of 1 to 4 words, lexemes of 2 to 3."""
    rng = random.Random(seed)
    unigrams = words(language)[: int(num_entries * _UNIGRAMS)]
    common = unigrams[:_COMMON]
    gap = "" if language in _JOINS_WORDS else " "
    num_entries = min(num_entries, int(len(unigrams) / _UNIGRAMS))
    made = dict.fromkeys(unigrams)
    for share, make in (
        (_BIGRAMS, lambda: gap.join(rng.choices(common, k=2))),
        (_TITLES, lambda: gap.join(word.capitalize() for word in rng.choices(common, k=rng.choice([1, 2, 2, 3, 4])))),
        (1.0, lambda: gap.join(rng.choices(common, k=rng.choice([2, 2, 3])))),
    ):
        end = min(num_entries, len(made) + int(share * num_entries))
        while len(made) < end:
            made[make()] = None
    return list(made)


def captions(language, num_captions, *, seed=0):
    """Short captions: 3 to 14 words by Zipf's law, some capitals, digits and marks."""
    rng = random.Random(seed)
    common = words(language)[:30_000]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(common) + 1)))
    gap = "" if language in _JOINS_WORDS else " "
    made = []
    for _ in range(num_captions):
        chosen = rng.choices(common, cum_weights=weights, k=rng.randint(3, 14))
        if rng.random() < 0.5:
            chosen = [word.capitalize() for word in chosen]
        if rng.random() < 0.3:
            chosen.append(str(rng.randint(1, 2_500)))
        made.append(gap.join(chosen) + rng.choice(["", "", "", ".", "!", " - " + chosen[0]]))
    return made


def disguise(texts, number):
    """`texts` in another language of the same shape: its letters are exchanged within their script."""
    rng = random.Random(number)
    table = {}
    for first, last in ((0x61, 0x7A), (0x430, 0x44F), (0x5D0, 0x5EA), (0x621, 0x64A), (0x905, 0x939), (0xAC00, 0xD7A3)):
        letters = list(range(first, last + 1))
        table.update(zip(letters, rng.sample(letters, len(letters)), strict=True))
    return [text.translate(table) for text in texts]


def language_sizes(num_languages, num_entries, *, largest=500_000):
    """Entries by language rank: the first ones full, then falling as 1/rank, as Wikipedias do; `num_entries` in all."""
    low, high = 1.0, float(num_languages)
    for _ in range(60):
        full = (low + high) / 2
        total = sum(min(largest, largest * full / rank) for rank in range(1, num_languages + 1))
        low, high = (full, high) if total < num_entries else (low, full)
    return [int(min(largest, largest * full / rank)) for rank in range(1, num_languages + 1)]
