"""Which trials train together, and the work that a run expects of each."""

import pytest
import torch
from specs import ROOT

from cabench.config.study import read_scale, read_study
from cabench.diffusion import compiled, graphs
from cabench.execution import processes
from cabench.execution.compiling import uncompiled
from cabench.execution.run import Options, prepare
from cabench.execution.schedule import (
    COMPILED_STEP,
    sampling_passes,
    stacked,
    training_passes,
    work,
)
from cabench.models import kernel_forms
from cabench.planning.trials import plan
from cabench.plugins import load_plugins, read_plugins
from cabench.registry import METHODS

STUDY = ROOT / "studies" / "layer_placement.yaml"


def planned(seeds, compiles=True):
    return plan(read_study(STUDY), read_scale("quick"), list(range(seeds)), compiles=compiles)


def stacks(trials, **options):
    return [(t.arm, (t.seed, *t.beside)) for t in stacked(trials, **options) if t.beside]


def of(trials, *arms):
    return [trial for trial in trials if trial.arm in arms]


def test_the_first_seed_of_each_arm_trains_the_others():
    trials = of(planned(6).trials, "native+dw", "can-3")
    assert sorted(stacks(trials, size=4, jobs=2)) == [
        ("can-3", (0, 1, 2, 3)),
        ("can-3", (4, 5)),
        ("native+dw", (0, 1, 2, 3)),
        ("native+dw", (4, 5)),
    ]
    assert {t.key for t in stacked(trials, 4)} == {t.key for t in trials}


@pytest.mark.parametrize(("seeds", "expected"), [(2, []), (3, [(0, 1)]), (4, [(0, 1), (2, 3)])])
def test_one_arm_is_split_over_the_workers(seeds, expected):
    trials = of(planned(seeds).trials, "can-3")
    assert [seeds for _, seeds in stacks(trials, size=4, jobs=2)] == expected


def test_eager_trials_train_alone():
    assert stacks(planned(3, compiles=False).trials, size=4) == []


def test_the_first_trial_of_a_stack_is_expected_to_train_all():
    plan_of = planned(3)
    alone = work(plan_of, plan_of.trials)
    together = work(plan_of, stacked(plan_of.trials, 4))
    assert sum(together.values()) == pytest.approx(sum(alone.values()))
    for trial in of(plan_of.trials, "can-3"):
        training, sampling = training_passes(trial, plan_of), sampling_passes(trial)
        networks = 3 if trial.seed == 0 else 0
        share = (networks * training + sampling) / (training + sampling)
        assert together[trial.key] / alone[trial.key] == pytest.approx(share)


def test_a_compiled_step_is_expected_to_take_less():
    plan_of, eager = planned(1), planned(1, compiles=False)
    passes = [training_passes(p.trials[0], p) for p in (plan_of, eager)]
    assert passes[0] == COMPILED_STEP * passes[1]


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (None, []),
        ("no Triton", ["training is not compiled: torch.compile fails on this GPU: no Triton"]),
    ],
)
def test_a_gpu_compiles_where_torch_can_and_the_run_says_where_not(
    fault, text, monkeypatch, tmp_path
):
    monkeypatch.setattr("cabench.execution.run.pick_device", lambda name: name)
    monkeypatch.setattr(graphs, "fault", lambda device: fault)
    options = Options(results=tmp_path, cache=tmp_path, seeds="1", device="cuda:1")
    prepared = prepare(STUDY, options)
    expected = graphs.VERSION if fault is None else None
    assert {t.spec.train.graphed for t in prepared.remaining.trials} == {expected}
    assert uncompiled(prepared.plan, prepared.remaining.trials, "cuda:1") == text


@pytest.mark.parametrize(
    ("kernels", "settings", "expected"),
    [
        ("", [], []),
        ("depthwise=loop", [], ["training is not compiled: CABENCH_KERNELS is set"]),
        (
            "",
            ["training.precision=bfloat16"],
            ["training is not compiled: that needs float32 on a CPU, got bfloat16"],
        ),
    ],
)
def test_a_run_says_what_keeps_its_training_from_being_compiled(
    kernels, settings, expected, monkeypatch
):
    monkeypatch.setattr("cabench.execution.compiling.missing", lambda device, cluster: None)
    forms = kernel_forms.overrides(kernels)
    whole = plan(read_study(STUDY), read_scale("quick", settings), [0], kernels=forms)
    assert uncompiled(whole, whole.trials) == expected


def test_a_plugin_is_the_reason_although_its_trials_are_all_that_is_left(monkeypatch):
    load_plugins(plugins := read_plugins([ROOT / "examples" / "gated_kernels.py"]))
    monkeypatch.setattr(METHODS.get("gated_kernels"), "compiles", False)
    monkeypatch.setattr("cabench.execution.compiling.missing", lambda device, cluster: None)
    file = read_study(STUDY, ["{gated: {methods: [native, gated_kernels]}}"])
    whole = plan(file, read_scale("quick"), [0], plugins=plugins)
    left = [trial for trial in whole.trials if trial.arm == "gated"]
    expected = ["training of gated is not compiled: it runs a plugin's code"]
    assert uncompiled(whole, left) == uncompiled(whole, whole.trials) == expected


def test_a_gpu_that_is_absent_cannot_compile():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    graphs.fault.cache_clear()
    text = processes.missing("cuda")
    assert text.startswith("torch.compile fails on this GPU: ") and "\n" not in text


def test_the_gpus_of_a_cluster_are_not_judged_by_this_machines(monkeypatch):
    monkeypatch.setattr(graphs, "fault", lambda device: None)
    assert processes.missing("cuda", cluster=True) == "that is not tried on the GPUs of a cluster"


@pytest.mark.parametrize("cxx", ["no-such-compiler", "false"])  # absent; it cannot compile
def test_without_a_working_compiler_training_is_eager_and_the_run_says_so(
    cxx, monkeypatch, tmp_path
):
    monkeypatch.setenv("CXX", cxx)
    compiled.compiler.cache_clear()
    try:
        prepared = prepare(STUDY, Options(results=tmp_path, cache=tmp_path, seeds="1"))
        assert all(trial.spec.train.compiled is None for trial in prepared.remaining.trials)
        (text,) = uncompiled(prepared.plan, prepared.remaining.trials)
        assert text.startswith("training is not compiled: no C++ compiler")
    finally:
        compiled.compiler.cache_clear()
