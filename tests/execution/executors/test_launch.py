"""Trials that several processes share: the records of one, and a killed rank."""

import signal
import subprocess
import sys
import time

import psutil
import pytest
from cli import CALL, cabench
from runs import COMMAND, finish, outcome
from specs import write

from cabench.records.store import Store

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]


def share(root, count: int, **more: str) -> None:
    """Makes trials of the tiny scale run in `count` processes; `more` replaces text in it."""
    text = (root / "scale.yaml").read_text() + f"resources: {{processes: {count}}}\n"
    for old, new in more.items():
        text = text.replace(old, new)
    write(root / "scale.yaml", text)


def close(actual: dict, expected: dict) -> None:
    """Equal keys, specs and costs; scores to a tolerance, as the order of sums differs."""
    assert actual and actual.keys() <= expected.keys()
    for key, parts in actual.items():
        assert parts["spec"] == expected[key]["spec"] and parts["cost"] == expected[key]["cost"]
        scores = expected[key]["metrics"]
        assert parts["metrics"] == pytest.approx(scores, rel=0.02, abs=0.02)


def environments(root) -> list[dict]:
    store = Store(root / "results", root / ".cabench")
    return [store.sound(key).dump()["environment"] for key in outcome(root / "results")]


@pytest.mark.full
def test_a_trial_in_two_processes_has_the_record_of_one(tiny, undisturbed):
    share(tiny, 2)
    text = finish(tiny, "--executor", "local", "--seeds", "1")
    assert "2 processes each" in text
    close(outcome(tiny / "results"), undisturbed.outcome)
    assert [environment["ranks"] for environment in environments(tiny)] == [2, 2]


@pytest.mark.full
@pytest.mark.parametrize(("executor", "name"), [("local", "spawn_main"), ("ray", "RayTrainWorker")])
def test_a_killed_rank_ends_the_others_and_the_trial_resumes(tiny, executor, name):
    share(tiny, 2, **{"images: 192": "images: 9600", "snapshot_every: 96": "snapshot_every: 960"})
    call = [*CALL, *COMMAND, "--executor", executor, "--jobs", "1", "--seeds", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    run = subprocess.Popen(call, cwd=tiny, **pipes)
    deadline = time.monotonic() + 300
    while not list((tiny / ".cabench/training").glob("*/ema-*.safetensors")):
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.1)
    processes = psutil.Process(run.pid).children(recursive=True)
    ranks = [process for process in processes if name in " ".join(process.cmdline())]
    assert len(ranks) == 2
    ranks[1].send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(ranks, timeout=45)
    assert not alive
    text, _ = run.communicate(timeout=500)
    assert run.returncode == 0, text
    if executor == "local":
        assert "rank 1 died (SIGKILL); restarted from the last snapshot" in text
    assert len(outcome(tiny / "results")) == 2  # of intact records
    assert all(environment["ranks"] == 2 for environment in environments(tiny))


@pytest.mark.full
def test_torchrun_runs_a_study(tiny, undisturbed):
    """Rank 0 runs the study, the other follows it; a second run finds nothing to do."""
    call = [*TORCHRUN, "-m", "cabench", *COMMAND, "--executor", "local", "--seeds", "1"]
    for to_run in (2, 0):
        done = subprocess.run(call, cwd=tiny, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("Written:") == 1
        assert ("2 trials to run" in done.stdout) == bool(to_run)
    close(outcome(tiny / "results"), undisturbed.outcome)
    assert environments(tiny)[0]["ranks"] == 2


@pytest.mark.full
def test_ray_train_runs_a_trial_on_two_workers(tiny, undisturbed):
    share(tiny, 2)
    text = finish(tiny, "--executor", "ray", "--seeds", "1")
    assert "2 processes each" in text
    close(outcome(tiny / "results"), undisturbed.outcome)
    assert [environment["ranks"] for environment in environments(tiny)] == [2, 2]


def test_a_batch_smaller_than_the_processes_is_refused(tiny):
    share(tiny, 2, **{"batch: 32,": "batch: 1,"})
    code, _, err = cabench(*COMMAND, "--dry-run")
    assert code == 2
    assert "training.batch: expected at least one image per process, 2, got 1" in err
