"""The board of a run, as its driver reads it."""

import pytest
import ray
from rich.progress import Progress

from pipelines.board import board_of
from pipelines.config.training import TrainingConfig
from pipelines.reading import Readers, reading
from ray_jobs.progress import TrainingBar

pytestmark = pytest.mark.ray

TRAINED = {
    "step": 5,
    "samples_seen": 80,
    "train/loss": 2.5,
    "train/samples_per_s": 100.0,
    "train/data_wait_share": 0.1,
}
VALIDATED = {"step": 5, "valid/loss": 3.0}


class Kept:
    """A record that keeps what it is told."""

    def __init__(self):
        self.metrics = []

    def log_metrics(self, metrics, *, step):
        self.metrics.append((step, metrics))


@pytest.fixture
def board(cluster, request):
    return board_of(request.node.name)


def test_all_posts_reach_the_record_and_those_of_the_training_the_bar(board):
    record, reports, validations, shown = Kept(), [], [], TrainingBar(Progress(disable=True), TrainingConfig())
    readers = Readers(lambda report: (reports.append(report), shown(report)), validations.append)
    with reading(board, record, readers):
        for post in (TRAINED, VALIDATED):
            ray.get(board.post.remote(post))
    assert reports == [TRAINED]
    assert validations == [VALIDATED]
    of_step = {name: value for name, value in TRAINED.items() if name != "step"}
    assert record.metrics == [(5, of_step), (80, {"by_samples/train/loss": 2.5}), (5, {"valid/loss": 3.0})]


def test_end_of_a_run_whose_board_is_gone_is_no_error(board):
    record = Kept()
    with reading(board, record, Readers(print)):
        ray.kill(board)
    assert record.metrics == []
