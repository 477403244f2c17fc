import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metaclip_core.metadata.store import read_manifest
from pipelines import metadata_counts, storage
from pipelines.config import build_config
from pipelines.errors import UserError
from pipelines.metadata import metadata_version, show_metadata
from pipelines.metadata_build import build_metadata
from tests.wiki_dumps import make_dump, page_xml

pytestmark = pytest.mark.ray

ENGLISH = [
    ("Cat", "A '''cat''' sits on the [[mat|old mat]]. {{Infobox|cat}} The old mat is old.<ref>no cat here</ref>"),
    ("Dog", "The dog sees the cat. The old mat!\n{| class=x\n| table cat\n|}\n[[Category:Dogs]]"),
    page_xml("Talk:Cat", "talk talk talk", namespace=1, page_id=7),
    page_xml("Kitty", "#REDIRECT [[Cat]]", redirect="Cat", page_id=8),
    ("Mat", "old mat, old mat; old mat"),
]
CHINESE = [("猫", "东京都的猫。东京都的狗。"), ("狗", "东京都")]
TAB = """# Wordnet\teng\thttps://example.org\tCC BY 4.0
00001740-n\teng:lemma\tcat
00001741-n\teng:lemma\tliving_thing
00001742-n\tcmn:lemma\t猫
00001743-n\txxx:lemma\tnobody
garbage
"""
VIEWS = [
    "en Cat 5 0",
    "en.m Cat 4 0",
    "en Living_thing 3 0",
    "en Special:Search 99 0",
    "en.b Book 99 0",
    "zh 猫 2 0",
    "x",
]
VIEWS += ["lad Gato 7 0", "roa-tara Gatte 2 0", "commons.m Cat 50 0"]


def write_sources(folder):
    (folder / "wikipedia").mkdir(parents=True)
    for wiki, pages in (("en", ENGLISH), ("zh", CHINESE)):
        dump, stem = make_dump(pages), f"{wiki}wiki-20240501-pages-articles-multistream"
        (folder / "wikipedia" / f"{stem}.xml.bz2").write_bytes(dump.content)
        (folder / "wikipedia" / f"{stem.replace('stream', 'stream-index')}.txt.bz2").write_bytes(dump.index)
    (folder / "wikipedia" / "zh_yue.txt").write_text("东京都嘅猫\n")
    (folder / "wordnet").mkdir()
    (folder / "wordnet" / "wn-data-eng.tab").write_text(TAB)
    (folder / "titles").mkdir()
    for hour in range(2):
        path = folder / "titles" / f"pageviews-20240501-0{hour}0000.gz"
        path.write_bytes(gzip.compress("\n".join([*VIEWS, ""]).encode()))
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def make_build(sources, tmp_path):
    def make(*overrides, folder=sources, root=None):
        build = {
            "wordnet": {"uri": str(folder / "wordnet")},
            "wikipedia": {"uri": str(folder / "wikipedia"), "unigram_share": 1.0, "bigram_min_count": 2},
            "titles": {"uri": str(folder / "titles")},
        }
        recipe = {"root": str(root or tmp_path / "root"), "metadata": {"name": "small", "build": build}}
        return build_config({**recipe, "compute": {"timeout_s": 120}}, overrides=overrides)

    return make


def built(config):
    steps = []
    result = build_metadata(config, progress=lambda *step: steps.append(step))
    return result, steps


def entries_of(config, language):
    rows = show_metadata(language, "", config, limit=10_000).table.to_pylist()
    return {source: [row["entry"] for row in rows if row["source"] == source] for source in {r["source"] for r in rows}}


def test_build_makes_the_entries_that_a_reader_derives(cluster, make_build):
    config = make_build()
    result, steps = built(config)
    english = entries_of(config, "en")
    assert english["number"] == [str(number) for number in range(100)]
    assert english["wordnet"] == ["cat", "living thing"]
    # old 7 times, mat 6; `cat` is WordNet's, and neither table, reference, redirect nor talk page is read
    assert english["unigram"][:2] == ["old", "mat"]
    assert {"The", "the", "sits", "dog", "sees"} <= set(english["unigram"])
    assert not {"cat", "talk", "table", "no", "here", "REDIRECT", "Infobox"} & set(english["unigram"])
    assert english["bigram"] == ["old mat"]
    assert english["title"] == ["Cat", "Living thing"]  # 18 and 6 views
    chinese = entries_of(config, "zh")
    assert chinese["wordnet"] == ["猫"]
    assert "嘅" in "".join(chinese["unigram"])  # Cantonese counts as Chinese
    other = entries_of(config, "other")
    assert "Gato" in other["title"] or "Gatte" in other["title"]
    assert result.version == metadata_version(config)
    assert steps[-1][:2] == ("merge", steps[-1][2])
    assert "living thing" in storage.read_bytes(result.report_uri).decode()


def test_build_tells_where_entries_come_from_and_what_was_dropped(cluster, make_build, sources):
    config = make_build()
    result, _ = built(config)
    origin = result.manifest.provenance
    files = {file["name"]: file for file in origin["files"]}
    assert files["wn-data-eng.tab"]["licences"] == ["CC BY 4.0"]
    dump = sources / "wikipedia" / "enwiki-20240501-pages-articles-multistream.xml.bz2"
    assert files[dump.name]["languages"] == ["en"]
    assert files[dump.name]["digest"] == f"sha256:{hashlib.sha256(dump.read_bytes()).hexdigest()}"
    assert files["pageviews-20240501-000000.gz"]["languages"] == ["en", "lad", "other", "zh"]
    dropped = {
        (stage["stage"], reason): rows for stage in origin["funnel"] for reason, rows in stage["dropped"].items()
    }
    assert dropped["pages", "redirect"] == 1
    assert dropped["wordnet lemmas", "lemma_language_unknown"] == 1
    assert dropped["wordnet lemmas", "lemma_line_broken"] == 1
    assert origin["missing"] == []
    assert origin["num_words"]["en"] == 12 + 8 + 6  # of Cat, Dog and Mat
    assert set(origin["num_words"]) == {"en", "zh"}


def test_build_counts_the_files_that_it_does_not_read_and_shows_them(cluster, make_build, tmp_path):
    folder = write_sources(tmp_path / "more")
    dump = make_dump(ENGLISH).content
    for name in ("enwiki-20240501-pages-articles.xml.bz2", "commonswiki-20240501-pages-articles.xml.bz2", "README.md"):
        (folder / "wikipedia" / name).write_bytes(dump)
    (folder / "titles" / "projectviews-20240501-000000").write_bytes(b"")
    result, _ = built(make_build("metadata.build.languages=[en]", folder=folder))
    stages = {stage["stage"]: stage for stage in result.manifest.provenance["funnel"]}
    assert stages["wikipedia files"]["dropped"] == {
        "wikipedia_file_language_unwanted": 3,  # Chinese with its index, and Cantonese
        "wikipedia_file_other_edition": 1,
        "wikipedia_file_unknown": 2,
    }
    assert stages["wikipedia files"]["rows_out"] == 2  # English with its index
    assert stages["page view files"] == {
        "stage": "page view files",
        "rows_in": 3,
        "rows_out": 2,
        "dropped": {"views_file_unknown": 1},
    }
    page = storage.read_bytes(result.report_uri).decode()
    for shown in ("wikipedia files", "2 wikipedia file unknown", "1 wikipedia file other edition"):
        assert shown in page


def test_build_in_one_block_of_large_slices_and_in_many_of_small_ones_is_the_same(cluster, make_build, tmp_path):
    one, _ = built(make_build("compute.shard_blocks=1", root=tmp_path / "one"))
    many, _ = built(
        make_build("compute.shard_blocks=8", "metadata.build.wikipedia.max_distinct=3", root=tmp_path / "many")
    )
    assert many.version == one.version
    assert many.manifest.sources == one.manifest.sources


def test_build_run_again_with_another_cap_counts_nothing_again(cluster, make_build, monkeypatch):
    first, _ = built(make_build())
    monkeypatch.setattr(metadata_counts, "apply_count", None)  # would fail
    other, steps = built(make_build("metadata.build.wikipedia.unigram_cap=1"))
    assert other.version != first.version
    assert other.manifest.sources["en"]["unigram"] == 1
    again, steps = built(make_build("metadata.build.wikipedia.unigram_cap=1"))
    assert again.version == other.version
    assert [step[1] for step in steps] == [step[2] for step in steps]  # all done before it began


def merged_files(config):
    """Of each language that was merged: where, and when it was written."""
    folders = Path(config.root).glob("metadata-counts/*/statistics.json")
    return {path.with_name("entries.parquet"): path.stat().st_mtime_ns for path in folders}


def test_build_with_the_dump_of_another_language_leaves_the_others_as_they_were(cluster, make_build, tmp_path):
    folder = write_sources(tmp_path / "grown")
    config = make_build(folder=folder)
    first, _ = built(config)
    before = merged_files(config)
    (folder / "wikipedia" / "de.txt").write_text("die Katze auf der Matte\n")
    (folder / "wordnet" / "wn-data-deu.tab").write_text("1-n\tdeu:lemma\tKatze\n")
    second, steps = built(config)
    after = merged_files(config)
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1
    assert [step for step in steps if step[0] == "merge"] == [
        ("merge", len(before), len(after)),
        ("merge", len(after), len(after)),
    ]
    assert set(second.manifest.sources) - set(first.manifest.sources) == {"de"}
    assert {
        language: second.manifest.sources[language] for language in first.manifest.sources
    } == first.manifest.sources


def test_build_with_more_page_views_merges_all_languages_again(cluster, make_build, tmp_path):
    folder = write_sources(tmp_path / "grown")
    config = make_build(folder=folder)
    built(config)
    before = merged_files(config)
    (folder / "titles" / "pageviews-20240501-020000.gz").write_bytes(gzip.compress(b"en Dog 100 0\n"))
    built(config)
    assert len(merged_files(config)) == 2 * len(before)
    assert entries_of(config, "en")["title"][0] == "Dog"


@pytest.mark.parametrize(
    "override",
    [
        "metadata.build.memory_mb=64",
        "metadata.build.wikipedia.max_distinct=3",
        "metadata.build.titles.max_rows=5",
        "metadata.build.required=[unigram]",
        "metadata.build.languages=[en, zh, lad, other]",
    ],
)
def test_build_with_a_setting_that_changes_no_entry_merges_nothing_again(cluster, make_build, override):
    config = make_build()
    first, _ = built(config)
    before = merged_files(config)
    again, _ = built(make_build(override))
    assert again.version == first.version
    assert merged_files(config) == before


def test_build_where_titles_win_over_words_fills_the_cap_of_words(cluster, make_build, tmp_path):
    words = [f"word{number}" for number in range(200)]
    (tmp_path / "sources" / "wikipedia").mkdir(parents=True)
    (tmp_path / "sources" / "titles").mkdir()
    (tmp_path / "sources" / "wikipedia" / "en.txt").write_text(" ".join([*words, *words, "rare", "seldom"]))
    views = "".join(f"en {word} 1 0\n" for word in words)
    (tmp_path / "sources" / "titles" / "pageviews-20240501-000000.gz").write_bytes(gzip.compress(views.encode()))
    limits = ["titles.share=1.0", "wikipedia.unigram_cap=2", "wordnet.uri=null", "order=[title, unigram]"]
    config = make_build(*(f"metadata.build.{limit}" for limit in limits), folder=tmp_path / "sources")
    built(config)
    assert entries_of(config, "en")["unigram"] == ["rare", "seldom"]


def test_build_killed_and_run_again_counts_no_counted_file_again_and_gives_the_same(cluster, make_build, tmp_path):
    whole, _ = built(make_build(root=tmp_path / "whole"))
    config = make_build()
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(config.model_dump_json())
    command = [sys.executable, "-m", "ray_jobs.build_metadata", "--recipe", str(recipe), "--json"]
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (counted := list(Path(config.root).glob("metadata-counts/*/done.json"))):
        assert time.monotonic() < deadline
        assert job.poll() is None
        time.sleep(0.01)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    counted = {path: path.stat().st_mtime_ns for path in counted}
    again = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert json.loads(again.stdout.splitlines()[-1])["version"] == whole.version
    assert {path: path.stat().st_mtime_ns for path in counted} == counted


def test_show_prints_the_entries_that_hold_a_text(cluster, make_build, tmp_path):
    config = make_build()
    built(config)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(config.model_dump_json())
    program = "from ray_jobs.cli import main; main()"
    command = [sys.executable, "-c", program, "metadata", "show", "en", "mat", "--recipe", str(recipe)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert "en: 2 entries" in shown.stdout
    assert "old mat" in shown.stdout
    absent = subprocess.run(
        [part if part != "en" else "xx" for part in command], capture_output=True, text=True, check=False, timeout=60
    )
    assert absent.returncode == 2
    assert "no language 'xx', only en, other, zh" in absent.stderr


def test_build_of_some_languages_has_these_alone(cluster, make_build):
    result, _ = built(make_build("metadata.build.languages=[zh]"))
    assert list(result.manifest.num_entries) == ["zh"]


def test_build_without_an_optional_source_says_so_in_the_manifest(cluster, make_build):
    result, _ = built(make_build("metadata.build.titles.uri=null"))
    [line] = result.manifest.provenance["missing"]
    assert "metadata.build.titles.uri is not set" in line
    assert "pageviews-" in line


def test_build_that_uses_no_wordnet_misses_none(cluster, make_build):
    result, _ = built(make_build("metadata.build.order=[number, unigram]", "metadata.build.wordnet.uri=null"))
    assert result.manifest.provenance["missing"] == []
    assert {file["source"] for file in result.manifest.provenance["files"]} == {"wikipedia"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["metadata.build.titles.uri=null", "metadata.build.required=[title]"], r"requires source title.*pageviews-"),
        (["metadata.build.wordnet.uri=nowhere"], "no such folder of WordNets"),
        (["metadata.build.wikipedia.uri=nowhere"], "no such folder"),
        (["metadata.build.languages=[xx]"], "no source has a word"),
    ],
)
def test_build_without_what_it_needs_names_what_is_expected(cluster, make_build, overrides, message):
    with pytest.raises(UserError, match=message):
        built(make_build(*overrides))


def test_build_of_two_dates_of_one_wikipedia_asks_which(cluster, make_build, tmp_path):
    folder = write_sources(tmp_path / "twice")
    (folder / "wikipedia" / "enwiki-20250101-pages-articles.xml.bz2").write_bytes(make_dump(ENGLISH).content)
    with pytest.raises(UserError, match="20240501 and 20250101"):
        built(make_build(folder=folder))


def test_build_of_damaged_files_keeps_what_is_readable_and_counts_the_rest(cluster, make_build, tmp_path):
    folder = write_sources(tmp_path / "damaged")
    dump = folder / "wikipedia" / "enwiki-20240501-pages-articles-multistream.xml.bz2"
    dump.write_bytes(dump.read_bytes()[:-150])
    views = folder / "titles" / "pageviews-20240501-000000.gz"
    views.write_bytes(views.read_bytes()[:-12])
    result, _ = built(make_build(folder=folder))
    dropped = {
        reason for stage in result.manifest.provenance["funnel"] for reason, rows in stage["dropped"].items() if rows
    }
    assert any("truncated" in reason for reason in dropped)
    assert result.manifest.num_entries["en"] > 100
    assert read_manifest(*storage.resolve(storage.Layout(str(tmp_path / "root")).metadata(result.version)))
