"""What goes on beside a block."""

import threading

import pytest
from ray.exceptions import RayActorError

from pipelines.beside import repeating


def test_it_goes_on_after_the_cluster_failed_it_and_says_so_once(caplog):
    thrice, calls = threading.Event(), []

    def act():
        calls.append(None)
        if len(calls) < 3:
            raise RayActorError
        thrice.set()
        return 60

    with repeating(act, name="board", first_s=0.01):
        assert thrice.wait(20)
    assert len(calls) == 3
    assert len([record for record in caplog.records if record.name == "pipelines.beside"]) == 1


def test_it_ends_with_a_block_that_fails():
    with pytest.raises(ValueError, match="of the block"), repeating(lambda: 0.01, name="beside", first_s=0.01):
        raise ValueError("of the block")
    assert "beside" not in {thread.name for thread in threading.enumerate()}
