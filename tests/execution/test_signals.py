"""SIGTERM and SIGHUP end a run as Ctrl-C does; a killed driver's workers end, too."""

import signal
import subprocess
import time

import psutil
import pytest
from cli import CALL
from conftest import TINY_SCALE
from runs import COMMAND, workers_of
from specs import write

pytestmark = pytest.mark.slow

LONG = TINY_SCALE.replace("images: 192", "images: 192000")


def start(folder, *words):
    """A run that takes minutes, in a session of its own."""
    write(folder / "scale.yaml", LONG)
    return subprocess.Popen(
        [*CALL, *COMMAND, *words],
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(true, seconds=90):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("number", "executor"),
    [(signal.SIGTERM, "local"), pytest.param(signal.SIGHUP, "ray", marks=pytest.mark.full)],
)
def test_a_signal_ends_a_run_in_one_line(tiny, number, executor):
    driver = start(tiny, "--executor", executor, "--jobs", "1")
    try:
        wait_until(lambda: any((tiny / ".cabench/training").glob("*/*.safetensors")))
        workers = workers_of(psutil.Process(driver.pid))
        driver.send_signal(number)
        _, err = driver.communicate(timeout=180)
    finally:
        driver.kill()
    assert driver.returncode == 128 + number
    lines = [line for line in err.splitlines() if line.startswith("cabench:")]
    assert lines == ["cabench: stopped; finished trials are kept, re-run the command to resume"]
    assert "Traceback" not in err
    wait_until(lambda: not any(w.is_running() for w in workers), 20)


@pytest.mark.full
def test_workers_end_soon_after_their_driver_is_killed(tiny):
    driver = start(tiny, "--executor", "ray", "--jobs", "1")
    try:
        wait_until(lambda: any((tiny / ".cabench/training").glob("*/*.safetensors")))
        workers = workers_of(psutil.Process(driver.pid))
        assert workers
    finally:
        driver.kill()
        driver.communicate()
    wait_until(lambda: not any(w.is_running() for w in workers), 15)
