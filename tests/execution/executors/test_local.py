"""The local executor: processes of the same command divide the trials by their locks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from runs import outcome

from cabench.execution.executors import local
from cabench.execution.executors.base import Finished, Progressed, Started
from cabench.execution.trial import claim, write_failed
from cabench.records.store import Store

PROCESS = """
import json, sys
from cabench.config.study import read_scale, read_study
from cabench.execution.executors import local
from cabench.execution.executors.base import Finished, Progressed
from cabench.planning.trials import plan
from cabench.records.store import Store
from pathlib import Path

planned = plan(read_study(Path("tiny.yaml")), read_scale("scale.yaml"), [0, 1], compiles=False)
keys = {Progressed: set(), Finished: set()}
def listen(message):
    if type(message) in keys:
        keys[type(message)].add(message.key)
print("ready", flush=True)
sys.stdin.readline()
local.run(planned.trials[:4], Store(Path("results"), Path(".cabench")), "cpu", listen)
print(json.dumps([sorted(kind) for kind in keys.values()]))
"""


@pytest.mark.slow
def test_two_processes_divide_the_trials(tiny):
    """Each trial runs in one of them; both end with all records."""
    options = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tiny)
    pair = [subprocess.Popen([sys.executable, "-c", PROCESS], **options) for _ in range(2)]
    for process in pair:
        assert process.stdout.readline() == "ready\n"
    for process in pair:
        process.stdin.write("\n")
        process.stdin.flush()
    ends = [json.loads(process.communicate(timeout=600)[0]) for process in pair]
    (ran, finished), (others_ran, others_finished) = ends
    assert ran and others_ran and not set(ran) & set(others_ran)
    assert finished == others_finished == sorted({*ran, *others_ran})
    assert set(outcome(tiny / "results")) == set(finished)


def run(trials, store):
    messages = []
    local.run(trials, store, "cpu", messages.append)
    return messages


def test_a_trial_of_another_process_is_left_to_it(tiny_plan, tmp_path, monkeypatch):
    """It is looked at again later, and its record taken as it is, though the trial failed."""
    store = Store(Path("results"), Path(".cabench"))
    trial, looks = tiny_plan.trials[0], []
    lock = store.lock(trial.key)
    lock.acquire()

    def end_elsewhere(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            lock.release()
            write_failed(trial, store, "Diverged: the loss became nan")

    monkeypatch.setattr(local.time, "sleep", end_elsewhere)
    messages = run([trial], store)
    assert len(looks) == 3 and [type(m) for m in messages] == [Started, Finished]
    assert messages[-1].error == "Diverged: the loss became nan"


def test_a_claim_is_of_a_trial_and_its_training(tiny_plan, tmp_path):
    store = Store(Path("results"), Path(".cabench"))
    trial, *others = tiny_plan.trials
    other = next(one for one in others if one.spec.train_key != trial.spec.train_key)
    for name in (trial.key, trial.spec.train_key):
        with store.lock(name):
            with claim(trial, store, wait=False) as free:
                assert not free
            with claim(other, store, wait=False) as free:
                assert free
        with claim(trial, store, wait=False) as free:
            assert free
            with claim(trial, store, wait=False) as again:
                assert not again


def test_a_failed_trial_runs_again_if_no_other_process_has_just_run_it(tiny_plan, monkeypatch):
    """As --retry-failed asks: its record was there before the run."""
    store = Store(Path("results"), Path(".cabench"))
    trial = tiny_plan.trials[0]
    write_failed(trial, store, "Diverged: the loss became nan")
    ran = []

    def run_claimed(trial, store, *_):
        ran.append(trial.key)
        return store.record(trial.key)

    monkeypatch.setattr("cabench.execution.trial.run_claimed", run_claimed)
    messages = run([trial], store)
    assert ran == [trial.key] and isinstance(messages[-1], Finished)
    assert not any(isinstance(message, Progressed) for message in messages)
