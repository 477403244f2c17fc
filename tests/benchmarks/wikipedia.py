"""How fast n-grams are counted, dump reading included, beside a plain program; and how much memory that takes.

    python -m tests.benchmarks.wikipedia

makes dumps of random articles in English and Chinese (words of `wordfreq`, by their frequency, in markup as articles
have it), then prints Markdown. Both programs run in turns, in one process, on the same dump.
"""

# ruff: noqa: PERF401, E501  a script that prints, and markup in long literals
import argparse
import bz2
import io
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import mwparserfromhell
import mwxml
from pyarrow import fs
from wordfreq import get_frequency_dict

from metaclip_core.funnel import Funnel
from metaclip_core.languages import is_unspaced
from metaclip_core.metadata.dumpfiles import find_inputs
from metaclip_core.metadata.dumps import PAGES, Slice, read_pages
from metaclip_core.metadata.ngrams import write_runs
from metaclip_core.metadata.segmentation import WORDS, phrases
from metaclip_core.metadata.wikipedia import read_phrases
from tests.benchmarks.measure import peak_mb

PAGES_PER_STREAM = 100
XMLNS = "{http://www.mediawiki.org/xml/export-0.11/}"
HEADER = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">\n<siteinfo></siteinfo>\n'
# All Wikipedias: pages-articles of the 2024-05 dumps, bz2. An assumption: enwiki has 22 GB, and about a fifth of all.
ALL_WIKIPEDIAS_BYTES = 110e9
CORES = 64


class Writer:
    """Random articles of a language."""

    def __init__(self, language: str, *, seed: int) -> None:
        frequencies = get_frequency_dict(language, wordlist="best")
        self._random = random.Random(seed)
        self._words, self._sums = list(frequencies), list(accumulate(frequencies.values()))
        self._blank = "" if is_unspaced(language) else " "
        self._stop, self._comma = ("。", "，") if is_unspaced(language) else (". ", ", ")

    def _some(self, number: int) -> list[str]:
        words = self._random.choices(self._words, cum_weights=self._sums, k=number)
        # Half of all different words of a Wikipedia occur once or twice: names, numbers, foreign words.
        return [f"{word}{self._random.randrange(10**6):x}" if self._random.random() < 0.02 else word for word in words]

    def _phrase(self, number: int) -> str:
        return self._blank.join(self._some(number))

    def _sentence(self) -> str:
        words = self._some(self._random.randrange(8, 30))
        for _ in range(self._random.randrange(4)):
            place = self._random.randrange(len(words))
            words[place] = self._random.choice(
                ["[[{0}]]", "[[{0}|{0}]]", "''{0}''", "'''{0}'''", "{{{{lang|fr|{0}}}}}"]
            ).format(words[place])
        sentence = self._blank.join(words[:-6]) + self._comma + self._blank.join(words[-6:]) + self._stop
        return sentence + (self._reference() if self._random.random() < 0.3 else "")

    def _reference(self) -> str:
        return (
            f"<ref>{{{{cite web |url=https://example.com/{self._random.randrange(10**9)} |title={self._phrase(6)} "
            f"|last={self._phrase(1)} |first={self._phrase(1)} |date=2020-01-02 |access-date=2021-03-04}}}}</ref>"
        )

    def _table(self) -> str:
        rows = "".join(
            f'|-\n| [[{self._phrase(1)}]] || {self._random.randrange(1000)} || style="a" | {self._phrase(3)}\n'
            for _ in range(self._random.randrange(3, 15))
        )
        return f'{{| class="wikitable sortable"\n! {self._phrase(1)} !! {self._phrase(1)} !! {self._phrase(2)}\n{rows}|}}\n'

    def article(self) -> str:
        infobox = "".join(
            f"| {self._phrase(1)} = {self._phrase(2)} {{{{small|{self._phrase(2)}}}}}\n" for _ in range(12)
        )
        parts = [f"{{{{Infobox person\n{infobox}}}}}\n"]
        for _ in range(self._random.randrange(1, 8)):
            parts.append(f"\n== {self._phrase(2)} ==\n")
            parts.append(f"[[File:{self._phrase(1)}.jpg|thumb|right|{self._phrase(8)}]]\n")
            for _ in range(self._random.randrange(1, 5)):
                parts.append("".join(self._sentence() for _ in range(self._random.randrange(2, 8))) + "\n\n")
            if self._random.random() < 0.3:
                parts.append(self._table())
            parts.append(
                "".join(f"* [[{self._phrase(2)}]], {self._phrase(5)}\n" for _ in range(self._random.randrange(6)))
            )
        parts.append("\n== References ==\n{{reflist}}\n{{Authority control}}\n")
        parts.extend(f"[[Category:{self._phrase(2)}]]\n" for _ in range(4))
        return "".join(parts)


def page_xml(number: int, text: str, *, namespace: int = 0, redirect: str = "") -> str:
    return (
        f"<page><title>Title {number}</title><ns>{namespace}</ns><id>{number}</id>{redirect}<revision><id>{number}</id>"
        "<timestamp>2024-05-01T00:00:00Z</timestamp><contributor><username>A</username><id>7</id></contributor>"
        f'<model>wikitext</model><format>text/x-wiki</format><text xml:space="preserve">{escape(text)}</text>'
        "</revision></page>\n"
    )


def write_dump(path: Path, language: str, *, num_articles: int, seed: int) -> None:
    """A multistream dump; beside the articles, half as many redirects and templates."""
    writer = Writer(language, seed=seed)
    with path.open("wb") as file:
        file.write(bz2.compress(HEADER.encode()))
        for first in range(0, num_articles, PAGES_PER_STREAM):
            pages = []
            for number in range(first, min(first + PAGES_PER_STREAM, num_articles)):
                pages.append(page_xml(number, writer.article()))
                if number % 4 == 0:
                    pages.append(page_xml(number, "#REDIRECT [[A]]", redirect='<redirect title="A" />'))
                    pages.append(page_xml(number, "{{a}} b", namespace=10))
            file.write(bz2.compress("".join(pages).encode()))
        file.write(bz2.compress(b"</mediawiki>\n"))


def ours(path: Path, language: str, folder: Path, *, max_distinct: int) -> Funnel:
    """Runs in `folder`."""
    local, funnel = fs.LocalFileSystem(), Funnel()
    [source] = find_inputs([path.name], funnel=Funnel())
    with local.open_input_file(str(path)) as file:
        found = read_phrases(file, source, Slice(0, file.size()), language=language, funnel=funnel)
        write_runs(found, local, str(folder), max_distinct=max_distinct)
    return funnel


def texts_of_etree(path: Path) -> Iterator[str]:
    with bz2.open(path) as file:
        for _, page in ET.iterparse(file):  # noqa: S314  our own file
            if page.tag == f"{XMLNS}page":
                if page.findtext(f"{XMLNS}ns") == "0" and page.find(f"{XMLNS}redirect") is None:
                    yield page.findtext(f"{XMLNS}revision/{XMLNS}text") or ""
                page.clear()


def texts_of_mwxml(path: Path) -> Iterator[str]:
    with bz2.open(path) as file:
        for page in mwxml.Dump.from_file(file):
            if page.namespace == 0 and page.redirect is None:
                yield next(iter(page)).text or ""


def baseline(path: Path, language: str) -> int:
    """The plain program: everything in memory. Returns the words."""
    unigrams: Counter[str] = Counter()
    bigrams: Counter[tuple[str, str]] = Counter()
    for text in texts_of_etree(path):
        for phrase in phrases(mwparserfromhell.parse(text).strip_code(), language):
            unigrams.update(phrase)
            bigrams.update(pairwise(phrase))
    return unigrams.total()


def timed(program, *arguments, **options):
    began_s = time.process_time()
    result = program(*arguments, **options)
    return time.process_time() - began_s, result


def print_rates(folder: Path, args: argparse.Namespace) -> None:
    print(
        "| language | dump, MB bz2 | words | ours, words/s | plain, words/s | ratio | ours, kB bz2/s | 64 cores, all, h |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for language in ("en", "zh"):
        path = folder / f"{language}wiki-20240501-pages-articles-multistream.xml.bz2"
        write_dump(path, language, num_articles=args.articles, seed=1)
        pairs = []
        for _ in range(args.rounds):
            ours_s, funnel = timed(ours, path, language, folder / "runs", max_distinct=args.max_distinct)
            plain_s, plain_words = timed(baseline, path, language)
            pairs.append((ours_s, plain_s))
        ours_s, plain_s = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
        words, size = funnel.rows_out(WORDS), path.stat().st_size
        hours = ALL_WIKIPEDIAS_BYTES / (size / ours_s) / CORES / 3600
        print(
            f"| {language} | {size / 1e6:.1f} | {words:,} | {words / ours_s:,.0f} | {plain_words / plain_s:,.0f} "
            f"| {plain_s / ours_s:.2f} | {size / ours_s / 1e3:,.0f} | {hours:.2f} |"
        )
        assert funnel.rows_out(PAGES) == args.articles


def print_reading(folder: Path) -> None:
    """Seconds to the texts alone."""
    path = folder / "enwiki-20240501-pages-articles-multistream.xml.bz2"
    content = path.read_bytes()

    def read_ours() -> int:
        return sum(1 for _ in read_pages(io.BytesIO(content), Slice(0, len(content)), funnel=Funnel()))

    print("\n| texts of the English dump, read by | s |\n|---|---|")
    for name, program in (
        ("`dumps.read_pages`", read_ours),
        ("`bz2.open` + ElementTree", lambda: sum(1 for _ in texts_of_etree(path))),
        ("`bz2.open` + mwxml", lambda: sum(1 for _ in texts_of_mwxml(path))),
    ):
        print(f"| {name} | {min(timed(program)[0] for _ in range(2)):.2f} |")


def count_alone(path: Path, folder: Path, args: argparse.Namespace) -> None:
    """In a process of its own: count; its peak memory in MiB."""
    ours(path, "en", folder / "runs", max_distinct=args.memory_distinct)
    print(json.dumps({"peak_mb": peak_mb()}))


def print_memory(folder: Path, args: argparse.Namespace) -> None:
    print("\n| input | dump, MB bz2 | runs, MB | counting, peak MiB |\n|---|---|---|---|")
    unit = folder / "unit.bz2"
    for factor in (1, 4, 16):
        place = folder / f"x{factor}"
        place.mkdir()
        path = place / "enwiki-20240501-pages-articles-multistream.xml.bz2"
        with path.open("wb") as file:  # other articles each time: the number of different words grows as well
            for seed in range(factor):
                write_dump(unit, "en", num_articles=args.memory_articles, seed=2 + seed)
                file.write(unit.read_bytes())
        command = [sys.executable, "-m", "tests.benchmarks.wikipedia", "--alone"]
        command += ["--path", str(path), "--folder", str(place), "--memory-distinct", str(args.memory_distinct)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        runs_mb = sum(run.stat().st_size for run in (place / "runs").iterdir()) / 1e6
        size_mb = path.stat().st_size / 1e6
        print(f"| {factor}× | {size_mb:.1f} | {runs_mb:.1f} | {found['peak_mb']:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-distinct", type=int, default=1_000_000)
    parser.add_argument("--memory-articles", type=int, default=1000)
    parser.add_argument("--memory-distinct", type=int, default=100_000)
    parser.add_argument("--alone", action="store_true", help="for the process that is measured")
    parser.add_argument("--path", type=Path)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    if args.alone:
        count_alone(args.path, args.folder, args)
        return
    with tempfile.TemporaryDirectory() as name:
        print_rates(Path(name), args)
        print_reading(Path(name))
        print_memory(Path(name), args)


if __name__ == "__main__":
    main()
