import html

import pytest

from metaclip_core.plots import curse_paths
from pipelines import storage
from pipelines.curse import Row, Score, curse, curse_page, scores_of
from pipelines.errors import UserError
from pipelines.evaluate import Evaluation, _keep
from pipelines.tracking import start_record

METRICS = {
    "eval/imagenet/en/top1": 0.8,
    "eval/imagenet/mean/top1": 0.8,
    "eval/imagenet/mean/undecodable": 3,
    "eval/babel/de/top1": 0.4,
    "eval/babel/ja/top1": 0.2,
    "eval/babel/ja/classes": 700,
    "eval/babel/mean/top1": 0.3,
    "eval/xm/en/text_to_image_recall1": 0.6,
    "eval/xm/de/text_to_image_recall1": 0.5,
    "eval/xm/de/image_to_text_recall1": 0.9,
    "eval/xm/mean/text_to_image_recall1": 0.55,
    "eval/cvqa/ja-japan/local": 0.5,
    "eval/cvqa/ja-japan/english": 0.7,
    "eval/cvqa/mean/local": 0.5,
    "eval/cvqa/mean/english": 0.7,
    "eval/geo/mean/few_shot5": 0.1,
}


def test_a_set_gives_english_the_others_or_both():
    assert scores_of(METRICS) == {
        "imagenet": Score(0.8, None, 0),
        "babel": Score(None, pytest.approx(0.3), 2),
        "xm": Score(0.6, 0.5, 1),
        "cvqa": Score(0.7, 0.5, 1),
    }


def test_models_stand_with_the_checkpoints_that_were_tried_beside_their_training(make_config):
    config = make_config()
    record = start_record(config, name="run-1", place="run-1", tags={})
    for step, share in [(4, 0.1), (8, 0.2), (12, 0.25)]:
        record.log_metrics({"eval/xm/en/text_to_image_recall1": share, "train/loss": 1.0}, step=step)
    run = {"mlflow_run_id": record.run_id, "config": config.model_dump(mode="json")}
    storage.write_json(f"{config.root}/runs/run-1/run.json", run)
    _keep(config, Evaluation("run-1", "/models/run-1", 192, METRICS))
    _keep(config, Evaluation("<b>elsewhere</b>", "/models/else", None, {"eval/xm/en/text_to_image_recall1": 0.9}))
    found = curse(config)
    told = [(row.name, row.step, row.samples_seen, row.mean.english) for row in found.rows]
    assert told == [
        ("<b>elsewhere</b>", None, None, 0.9),
        ("run-1", 4, None, 0.1),
        ("run-1", 8, None, 0.2),
        ("run-1", None, 192, pytest.approx((0.8 + 0.6 + 0.7) / 3)),
    ]
    assert found.rows[-1].mean.others == pytest.approx((0.3 + 0.5 + 0.5) / 3)
    page = storage.read_bytes(found.page_uri).decode()
    assert html.escape("<b>elsewhere</b>") in page
    assert "+26.7" in page


def test_another_evaluation_of_a_model_keeps_what_was_found_on_other_sets(make_config):
    config = make_config()
    _keep(config, Evaluation("m", "/m", None, {"eval/a/en/top1": 0.1, "eval/a/de/top1": 0.1, "eval/b/en/top1": 0.2}))
    _keep(config, Evaluation("m", "/m", None, {"eval/a/en/top1": 0.3}))
    [row] = curse(config).rows
    assert row.scores == {"a": Score(0.3, None, 0), "b": Score(0.2, None, 0)}


def test_a_page_without_both_has_no_plot():
    score = Score(0.5, None, 0)
    page = curse_page([Row("m", None, None, {"a": score}, score)])
    assert "<svg" not in page
    assert "50.0%" in page


def test_a_root_where_nothing_was_evaluated_says_so(make_config):
    with pytest.raises(UserError, match="nothing was evaluated"):
        curse(make_config())


def test_a_plot_of_one_point_at_zero_is_drawn():
    assert "English" in curse_paths({"m": [(0.0, 0.0)]})
