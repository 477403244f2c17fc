"""The record, when its server is away."""

import pytest

from pipelines.config import build_config
from pipelines.tracking import Record, TrackingError, forgiving, start_record

AWAY = "http://127.0.0.1:9"  # the port of nobody


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def test_server_that_is_away_is_a_sentence():
    with pytest.raises(TrackingError, match=r"^MLflow at http://127\.0\.0\.1:9 does not answer: "):
        start_record(build_config({"tracking": {"uri": AWAY}}), name="run", tags={})


def test_what_must_not_fail_with_the_record_says_so(caplog):
    with forgiving("the end of the run"):
        Record(AWAY, "0" * 32).finish("FINISHED")
    assert "the end of the run is not in the record: MLflow at" in caplog.text
