import subprocess
import sys
import time

from pipelines.watchdog import EXIT_CODE, Watchdog

STUCK = """
import sys, time
from pipelines.watchdog import Watchdog
def tell(reason, stacks):
    sys.stdout.write(reason + "\\n" + stacks)
    sys.stdout.flush()
def wait_for_ever():
    {wait}
with Watchdog({limit}, tell) as watchdog:
    watchdog.beat("waiting for data")
    wait_for_ever()
"""


def run(limit, wait):
    program = STUCK.format(limit=limit, wait=wait)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_process_that_is_stuck_ends_with_its_reason_and_stacks():
    ended = run(0.5, "time.sleep(1_000)")
    assert ended.returncode == EXIT_CODE
    assert ended.stdout.splitlines()[0] == "no progress in 0.5 s while waiting for data"
    assert "wait_for_ever" in ended.stdout
    assert "MainThread" in ended.stdout


def test_report_that_hangs_ends_too():
    program = STUCK.format(limit=0.5, wait="time.sleep(1_000)").replace("sys.stdout.flush()", "time.sleep(1_000)")
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert ended.returncode == EXIT_CODE


def test_call_that_never_gives_the_interpreter_back_ends():
    blocked = "import ctypes; ctypes.PyDLL(None).sleep(1_000)"  # PyDLL holds the interpreter's lock
    program = "import pipelines.watchdog as w; w._GRACE_S = 0.5\n" + STUCK.format(limit=0.5, wait=blocked)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "wait_for_ever" in ended.stderr


def test_process_that_beats_goes_on():
    ended = run(0.5, "[(time.sleep(0.1), watchdog.beat('working')) for _ in range(12)]")
    assert ended.returncode == 0
    assert ended.stdout == ""


def test_nothing_is_watched_after_the_block():
    reasons = []
    with Watchdog(0.2, lambda reason, _: reasons.append(reason)):
        pass
    time.sleep(0.6)  # this process would have ended
    assert not reasons
