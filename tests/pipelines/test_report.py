import html
import re
from collections import Counter
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from metaclip_core.counting import Measure, PoolCounts
from metaclip_core.funnel import Funnel
from metaclip_core.records import DropReason, Stage
from pipelines import storage
from pipelines.config import build_config
from pipelines.curate import CurationResult
from pipelines.curated import Curated
from pipelines.evaluation_sets import metric_name
from pipelines.report import write_report
from pipelines.runs import TrainResult
from pipelines.thresholds import Thresholds
from tests.evaluation_sets import write_set

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<img src=x onerror=alert(1)>"
TRAINING = TrainResult(
    "demo-run", "/r/checkpoint", "/r/model", "f00d", 12_345, {"image_broken": 17, HOSTILE: 3}, 54_321
)
METRICS = {
    metric_name(dataset, language, measure): share
    for dataset, measure in [("things", "top1"), ("pictures", "text_to_image_recall1")]
    for language, share in [("en", 0.625), ("de", 0.375), (HOSTILE, 0.0), ("mean", 0.3333)]
}


class Page(HTMLParser):
    """Tags, and the attributes that could load or run something."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open_tags, self.attributes = Counter(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in {"meta", "i", "img"}:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in {"meta", "i", "img"}:
            assert self.open_tags.pop() == tag


def curation(languages=("en", "de"), *, reason="bad_member", screens_uri=None):
    funnel = Funnel()
    for stage, rows, dropped in [
        (Stage.READ, 20_000, (reason, 1_500)),
        (Stage.DEDUPLICATE, 18_500, (DropReason.DUPLICATE, 500)),
        (Stage.MATCH, 18_000, (DropReason.NO_MATCH, 1_000)),
    ]:
        funnel.enter(stage, rows)
        funnel.drop(stage, *dropped)
    counts = PoolCounts({language: np.array([1, 2, 3, 94_000]) for language in languages})
    for place, language in enumerate([*languages, "unmatched"]):
        counts.sums[Measure.CAPTIONS, language] = 30_000 // (place + 1)
        counts.sums[Measure.MATCHED_CAPTIONS, language] = 0 if language == "unmatched" else 15_000 // (place + 1)
    uris = {
        f"{name}_uri": f"/r/{name}/v1" for name in ("metadata", "annotations", "duplicates", "counts", "thresholds")
    }
    return CurationResult(
        curated=Curated(
            pool="numbers",
            num_shards=40,
            manifest_digest="d1",
            scores_uris=(),
            contamination_uri=None,
            screens_uri=screens_uri,
            hashes_uri=None,
            near_uri=None,
            **uris,
        ),
        thresholds=Thresholds(0.06, dict.fromkeys(languages, 1_234)),
        counts=counts,
        funnel=funnel,
        expected={language: 4_000.0 / (place + 1) for place, language in enumerate(languages)},
    )


def written(tmp_path, result=None, *, training=TRAINING, metrics=METRICS, views=None, overrides=()):
    config = build_config({"recipe": "demo", "root": str(tmp_path)}, overrides=overrides)
    card_uri = f"{tmp_path}/reports/num bers-v1/index.html"
    uri = write_report(
        config, result or curation(), training=training, metrics=metrics, views=views or {}, card_uri=card_uri
    )
    return uri, storage.read_bytes(uri).decode()


def rows(page):
    """The text of every table row, cells parted by one blank."""
    return [
        " ".join(html.unescape(re.sub("<[^>]*>", " ", row)).split())
        for row in re.findall(r"<tr.*?</tr>", page, flags=re.DOTALL)
    ]


def test_a_report_lies_under_the_name_of_the_run_and_says_its_numbers(tmp_path):
    uri, page = written(tmp_path)
    assert uri == f"{tmp_path}/reports/demo-run/index.html"
    for number in ("20,000", "17,000", "6,000", "12,345", "54,321", "image broken 17"):
        assert number in page
    found = rows(page)
    assert "read 20,000 18,500 1,500 7.5%" in found
    assert "bad member 1,500 7.5%" in found
    assert "en 30,000 15,000 50.0% 1,234 4,000 54.5% 66.7%" in found
    assert "unmatched 10,000 0 0.0% – 0 18.2% 0.0%" in found
    assert "mean 33.3% 33.3%" in found
    assert "head: 1 entry, " in page


def test_a_value_stands_with_its_interval_and_what_is_no_share_with_its_number(tmp_path):
    values = {"top1": 0.5, "top1_low": 0.25, "top1_high": 0.75, "classes": 700, "alignment": 1.23456}
    page = written(tmp_path, metrics={metric_name("things", "en", name): value for name, value in values.items()})[1]
    found = rows(page)
    assert "language top-1 classes alignment" in found
    assert "en 50.0% 25.0%–75.0% 700 1.235" in found


def test_panels_show_what_a_model_puts_first_and_mark_what_is_right(tmp_path):
    answers = [{"shown": HOSTILE, "right": True}, {"shown": "no", "right": False}]
    pictures = [{"shown": "data:image/jpeg;base64,AA", "right": True}]
    panel = {"dataset": "r", "language": "en", "captions_of": [("data:image/jpeg;base64,AA", answers)]}
    page = written(tmp_path, views={"panels": [panel | {"pictures_of": [("a caption", pictures)]}]})[1]
    assert f'<div dir="auto" class="right">{html.escape(HOSTILE)}</div>' in page
    assert '<div dir="auto">no</div>' in page
    assert [value for name, value in Page(page).attributes if name == "src"] == ["data:image/jpeg;base64,AA"] * 2
    image = ET.parse(tmp_path / "reports" / "demo-run" / "plots" / "panel-r-en.svg")  # noqa: S314 - of ours
    texts = [element.text for element in image.iter(f"{SVG}text")]
    assert texts == [HOSTILE, "no", "a caption"]
    assert [element.get("font-weight") for element in image.iter(f"{SVG}text")] == ["bold", None, None]
    assert len(list(image.iter(f"{SVG}image"))) == 2


def test_sets_whose_names_have_no_latin_letters_keep_files_apart(tmp_path):
    panels = [{"dataset": name, "language": "ja", "captions_of": [], "pictures_of": []} for name in ["数", "色"]]
    written(tmp_path, views={"panels": panels})
    plots = tmp_path / "reports" / "demo-run" / "plots"
    assert {file.name for file in plots.glob("panel-*")} == {"panel-数-ja.svg", "panel-色-ja.svg"}


def test_confusions_are_drawn_and_every_plot_is_a_file_too(tmp_path):
    found = {"dataset": HOSTILE, "language": "en", "classes": ["one", HOSTILE], "counts": [[3, 1], [0, 0]]}
    page = written(tmp_path, views={"confusions": [found | {"num_classes": 7}]})[1]
    assert "the 2 of 7 classes with most mistakes" in page
    Page(page)
    files = {file.name for file in (tmp_path / "reports" / "demo-run" / "plots").iterdir()}
    assert {"languages.svg", "head-and-tail-en.svg", "things-top-1.svg"} <= files
    [confusion] = [name for name in files if name.startswith("confusion-")]
    assert confusion == "confusion-img-src-x-onerror-alert-1-en-the-2-of-7-classes-with-most-mistakes.svg"


@pytest.mark.parametrize("metrics", [None, {}, {"loss": 1.0}, {metric_name("things", "mean", "top1"): 0.5}])
def test_a_report_works_with_few_metrics(tmp_path, metrics):
    Page(written(tmp_path, metrics=metrics)[1])


def test_a_report_leads_to_the_data_card_and_nowhere_else(tmp_path):
    links = [value for name, value in Page(written(tmp_path)[1]).attributes if name in {"href", "src"}]
    assert links == ["../num%20bers-v1/index.html"]


def test_a_report_of_a_pool_without_matches_or_english_works(tmp_path):
    empty = CurationResult(curation().curated, Thresholds(1.0, {}), PoolCounts({}), Funnel(), {})
    assert "no English" in written(tmp_path, empty, metrics=None)[1]


def test_hostile_names_stay_text(tmp_path):
    page = written(tmp_path, curation(["en", HOSTILE, "日本語"], reason=HOSTILE), overrides=[f'recipe="{HOSTILE}"'])[1]
    parsed = Page(page)
    assert not parsed.tags.keys() & {"img", "script", "link", "iframe"}
    assert not [name for name, _ in parsed.attributes if name == "src" or name.startswith("on")]
    assert parsed.open_tags == []
    assert html.escape(HOSTILE) in page
    assert "日本語" in page


def test_a_report_of_many_languages_lists_all_and_plots_the_largest(tmp_path):
    names = [f"l{i}" for i in range(120)]
    page = written(tmp_path, curation(names), metrics={metric_name("things", name, "top1"): 0.5 for name in names})[1]
    assert {name for name in names if f"<td>{name}</td>" in page} == set(names)
    plotted = [name for name in names if re.search(rf">{name}</text>", page)]
    assert len(plotted) == 40
    assert "l0" in plotted


def test_a_report_of_a_screened_pool_says_what_each_sieve_lets_pass(tmp_path):
    result = curation(screens_uri="/r/screens/v1")
    result.funnel.enter("block", 18_500)
    result.funnel.enter("classify nsfw", 18_500)
    result.funnel.drop("classify nsfw", DropReason.SCORE_ABOVE, 370)
    page = written(tmp_path, result, overrides=["curation.classifiers=[{name: nsfw, drop_above: 0.5}]"])[1]
    found = rows(page)
    assert "pairs → pairs that no block list names" in found
    assert "classify nsfw 18,500 18,130 370 2.0%" in found
    assert "pairs → pairs with a score ≤ 0.5" in found
    assert "score above 370 2.0%" in found
    assert "screens /r/screens/v1" in found
    assert "after screening and deduplication" in page


def test_the_same_input_gives_the_same_bytes(tmp_path):
    assert written(tmp_path)[1] == written(tmp_path)[1]


def test_a_classification_set_that_can_be_read_gives_the_level_of_chance(tmp_path):
    content = {"task": "classification", "classes": {"en": ["a", "b", "c", "d"]}, "templates": {"en": ["{}"]}}
    write_set(tmp_path / "sets" / "things", content, label=[0])
    page = written(tmp_path, overrides=["evaluation.sets=[sets/things, sets/gone]"])[1]
    assert page.count(">chance 25.0%<") == 1


def test_the_configuration_is_shown_with_the_tracking_server(tmp_path):
    page = html.unescape(written(tmp_path, overrides=['tracking.uri="https://host:5000/a?b=c"'])[1])
    assert "uri: https://host:5000/a?b=c\n" in page
