"""The dry run's estimate: against the committed records, and part by part."""

import multiprocessing

import pytest
from specs import METHODS, ROOT, model_spec

from cabench.config.study import read_scale, read_study
from cabench.cost.estimate import beside, makespan
from cabench.execution.duration import FEATURES, START, run_time, trial_time
from cabench.execution.schedule import COMPILED_STEP
from cabench.planning.trials import plan
from cabench.records.runs import find_run
from cabench.records.store import REFERENCE

ARMS = ("native", "native+dw", "native+can-3", "can-3")


def test_work_is_taken_by_the_first_worker_that_is_free():
    assert makespan([3, 2, 2, 1], 2) == 4 and makespan([3, 2, 2], 1) == 7
    assert makespan([5, 1], 8) == 5


def test_estimates_are_near_the_times_of_the_committed_records(monkeypatch, tmp_path):
    """Given each arm's recorded speed of training: of the whole run, and of every arm."""
    monkeypatch.chdir(ROOT)
    file = read_study(ROOT / "studies" / "layer_placement.yaml")
    planned = plan(file, read_scale("quick"), [0, 1, 2], compiles=True)
    run = find_run(ROOT / REFERENCE, "layer_placement")
    records = run.records()
    expected, actual = {}, {}
    assert tuple(planned.arms) == ARMS
    for arm in ARMS:
        own = [t.key for t in run.manifest.trials if t.arm == arm and t.seed < 3]
        timings = [records[key].timing for key in own]
        assert len(timings) == 3
        pace = timings[0]["train_s"] / 90_000 / COMPILED_STEP  # of an eager step
        trials = [t for t in planned.trials if t.arm == arm]
        expected[arm] = run_time(trials, planned, {arm: pace}, 1, tmp_path) - START
        actual[arm] = sum(timing["trial_s"] for timing in timings)
        assert 1 / 1.3 < expected[arm] / actual[arm] < 1.3, arm
    assert sum(expected.values()) == pytest.approx(sum(actual.values()), rel=0.2)


def test_the_parts_of_an_estimate(tiny_plan, tmp_path):
    trials, pace = tiny_plan.all_trials, dict.fromkeys(tiny_plan.arms, 0.3)
    each = [trial_time(t, tiny_plan, 0.3) for t in trials]
    first = trials[0].spec
    assert each[0].training == pytest.approx(192 * 0.3)
    assert each[0].sampling == pytest.approx(first.sample.n * first.sample.steps * 0.1)
    alone = sum(time.total for time in each)
    real = 2 * 180 * FEATURES
    total = run_time(trials, tiny_plan, pace, 1, tmp_path)
    assert total == pytest.approx(START + alone + real, rel=0.02)
    assert run_time(trials, tiny_plan, pace, len(trials), tmp_path) < total / 2
    assert run_time([], tiny_plan, pace, 1, tmp_path) == 0


@pytest.mark.full
def test_what_trains_beside_the_timed_steps_ends_with_them():
    with beside(2, model_spec(**METHODS["can-3"]), 4):
        processes = multiprocessing.active_children()
        assert len(processes) == 2 and all(p.is_alive() for p in processes)
    assert not any(p.is_alive() for p in processes)
