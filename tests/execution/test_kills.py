"""A killed run resumes with the same command and ends with the same bits."""

import contextlib
import random
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from cli import CALL
from runs import COMMAND, finish, outcome, workers_of
from specs import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("every", [15, pytest.param(1, marks=pytest.mark.full)])
def test_killed_at_each_write_it_ends_with_the_same_bits(tiny, undisturbed, every):
    """At every fifteenth write, and in the full set at every write."""
    words = [*COMMAND, "--executor", "local", "--seeds", "1"]
    call = [sys.executable, str(ROOT / "tests/kill_points.py"), str(every), *words]
    done = subprocess.run(call, cwd=tiny, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 30 // every
    actual = outcome(tiny / "results")
    assert len(actual) == 2 and actual.items() <= undisturbed.outcome.items()


@pytest.mark.full
@pytest.mark.parametrize("kills", [2, 20])
def test_random_kills_of_driver_and_workers(tiny, undisturbed, kills):
    """SIGKILL at random moments of a run on Ray, alternately of the driver and of a worker."""
    moments, killed = random.Random(0), {"driver": 0, "worker": 0}
    for _ in range(2 * kills + 4):  # a victim may have ended before its time
        if sum(killed.values()) >= kills and min(killed.values()):
            break
        call = [*CALL, *COMMAND, "--jobs", "2"]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        driver = subprocess.Popen(call, cwd=tiny, start_new_session=True, **silent)
        watched = psutil.Process(driver.pid)
        if killed["worker"] < killed["driver"]:
            deadline = time.monotonic() + 60
            while not workers_of(watched) and time.monotonic() < deadline:
                time.sleep(0.1)
                if driver.poll() is not None:
                    break
            time.sleep(moments.uniform(0, 4))
            if driver.poll() is None and (victims := workers_of(watched)):
                with contextlib.suppress(psutil.NoSuchProcess):  # it ended a moment ago
                    moments.choice(victims).send_signal(signal.SIGKILL)
                    killed["worker"] += 1
            assert driver.wait(timeout=600) == 0  # it goes on in another worker
        else:
            time.sleep(moments.uniform(4, 20))
            killed["driver"] += driver.poll() is None
            driver.kill()
            driver.wait()
        for key in outcome(tiny / "results").keys() & undisturbed.outcome.keys():
            assert outcome(tiny / "results")[key] == undisturbed.outcome[key]
        if driver.returncode == 0:  # all was done: the next round starts from nothing
            shutil.rmtree(tiny / "results" / "records")
            shutil.rmtree(tiny / ".cabench" / "training")
            shutil.rmtree(tiny / ".cabench" / "samples")
    finish(tiny, "--executor", "local")
    assert killed["driver"] and killed["worker"]
    assert outcome(tiny / "results") == undisturbed.outcome


COUNTED = """
import os, sys
from cabench.commands import entry as cli
from cabench.execution import trial as stages
measure = stages.measure
def counted(trial, *rest):
    with open("begun.txt", "a") as log:
        log.write(trial.key + "\\n")
    return measure(trial, *rest)
stages.measure = counted
sys.argv[0] = "cabench"
cli.main()
"""


@pytest.mark.full
def test_two_runs_at_once_do_no_work_twice(tiny, undisturbed):
    call = [sys.executable, "-c", COUNTED, *COMMAND, "--executor", "local"]
    both = [subprocess.Popen(call, cwd=tiny, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    texts = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    assert all("4 trials to run, 0 done" in text for text in texts)  # they did run at once
    assert sorted((tiny / "begun.txt").read_text().split()) == sorted(undisturbed.outcome)
    assert outcome(tiny / "results") == undisturbed.outcome
