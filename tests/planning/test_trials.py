"""Trials: what their keys hold, and what the manifest says."""

import dataclasses

import pytest
from backbones import on_all
from specs import ROOT, write

from cabench.config.cost_study import kind_of
from cabench.config.study import read_scale, read_study
from cabench.diffusion import graphs, training
from cabench.diffusion.passes import Passes
from cabench.execution.run import Options, prepare
from cabench.metrics.extractors import GPU_VERSION
from cabench.planning.trials import Trial, manifest, plan
from cabench.records.spec import TrialSpec
from cabench.report.methods_section import command

STUDY = ROOT / "studies" / "layer_placement.yaml"


@pytest.fixture(scope="module")
def placement():
    return plan(read_study(STUDY), read_scale("quick"), all_arms=True)


def test_arms_of_one_seed_differ_in_nothing_but_the_model(placement):
    for trial in placement.trials:
        first = next(t for t in placement.trials if t.seed == trial.seed)
        train = trial.spec.train.model_copy(update={"model": first.spec.train.model})
        assert trial.spec.model_copy(update={"train": train}) == first.spec


def changed(trial: Trial, **parts) -> Trial:
    """The trial with other values in its spec, named by paths such as train__seed."""
    spec = trial.spec.dump()
    for path, value in parts.items():
        *folders, last = path.split("__")
        inner = spec
        for folder in folders:
            inner = inner[folder]
        inner[last] = value
    return dataclasses.replace(trial, spec=TrialSpec.model_validate(spec))


def test_keys_are_nested(placement):
    trial = placement.trials[0]
    longer = changed(trial, images=99_999)
    assert longer.spec.train_key == trial.spec.train_key and longer.key != trial.key
    resampled = changed(trial, sample__steps=7)
    assert resampled.spec.train_key == trial.spec.train_key
    assert resampled.spec.sample_key(1.0) != trial.spec.sample_key(1.0)
    rescored = changed(trial, score__judge="another")
    assert rescored.spec.sample_key(1.0) == trial.spec.sample_key(1.0)
    assert rescored.key != trial.key
    changes = {
        "train__seed": 7,
        "train__init_salt": "other",
        "train__recipe": 99,
        "train__data__fingerprint": "other",
    }
    for path, value in changes.items():
        assert changed(trial, **{path: value}).spec.train_key != trial.spec.train_key, path
    assert dataclasses.replace(trial, arm="renamed").key == trial.key
    assert dataclasses.replace(trial, snapshot_every=1, keep_state=False).key == trial.key


def test_forced_kernels_are_part_of_the_key(tiny_plan):
    forced = plan(tiny_plan.file, read_scale("scale.yaml"), kernels={"depthwise": "loop"})
    free = plan(tiny_plan.file, read_scale("scale.yaml"), kernels={})
    assert free.trials[0].spec.train_key == tiny_plan.trials[0].spec.train_key
    assert forced.trials[0].spec.train_key != free.trials[0].spec.train_key


def test_a_trial_on_a_gpu_has_a_key_of_its_own_as_draws_and_features_are_others(tiny_plan):
    on_gpu, on_cpu = (
        plan(tiny_plan.file, read_scale("scale.yaml"), compiles=False, on_gpu=on_gpu)
        for on_gpu in (True, False)
    )
    for own, other in zip(on_gpu.trials, on_cpu.trials, strict=True):
        train, expected = own.spec.train.dump(), other.spec.train.dump()
        assert train.pop("draws") == training.DRAWS and "draws" not in expected
        assert train == expected and own.key != other.key
        score, expected = own.spec.score.dump(), other.spec.score.dump()
        assert score.pop("on_gpu") == GPU_VERSION and score == expected
        on_cpu_alone = own.spec.model_copy(update={"score": other.spec.score})
        assert own.key != on_cpu_alone.key


def test_a_run_on_cuda_plans_the_draws_of_a_gpu(tiny, monkeypatch):
    monkeypatch.setattr("cabench.execution.run.pick_device", lambda name: name)
    for device, draws in (("cpu", None), ("cuda:1", training.DRAWS), ("mps", None)):
        prepared = prepare(tiny / "tiny.yaml", Options(scale="scale.yaml", device=device))
        assert {t.spec.train.draws for t in prepared.plan.trials} == {draws}


@pytest.mark.parametrize("recipe", ["precision=bfloat16", "optimiser=muon"])
def test_on_a_gpu_what_is_compiled_has_a_version_of_its_own(recipe):
    settings = ["training.compile=true", "sampling.compile=true", f"training.{recipe}"]
    scale = read_scale("quick", settings)
    for compiles, version in ((True, graphs.VERSION), (False, None)):
        planned = plan(read_study(STUDY), scale, compiles=compiles, on_gpu=True)
        for trial in planned.trials:
            train, sample = trial.spec.train, trial.spec.sample
            assert (train.graphed, sample.graphed) == (version, version)
            assert (train.compiled, sample.compiled) == (None, None)


def test_the_environment_forces_kernels_of_a_run(tiny, monkeypatch):
    monkeypatch.setenv("CABENCH_KERNELS", "depthwise=loop")
    prepared = prepare(tiny / "tiny.yaml", Options(scale="scale.yaml", device="cpu"))
    assert prepared.plan.trials[0].spec.train.kernels == {"depthwise": "loop"}


def test_a_key_does_not_depend_on_the_order_of_seeds(placement):
    there, back = (
        {t.seed: t.key for t in plan(placement.file, read_scale("quick"), seeds).trials}
        for seeds in ([0, 1], [1, 0])
    )
    assert there == back


def test_the_manifest_holds_trials_labels_and_arms(placement):
    content = manifest(placement)
    assert {t.key for t in content.trials} == {t.key for t in placement.trials}
    assert content.metrics["kid"].label == "KID-lite0@2000"
    assert content.arm("unconditional").bound


def test_a_study_runs_on_each_of_its_backbones(tiny):
    path, scale = on_all(tiny)
    plans = {
        name: plan(read_study(path, backbone=name), scale, all_arms=True)
        for name in ("dit", "uvit", "cat")
    }
    names = {"dit": "tiny", "uvit": "tiny-uvit", "cat": "tiny-cat"}
    assert {name: p.study.study for name, p in plans.items()} == names
    native = {name: p.models["native+dw"].spec.methods[0].kind for name, p in plans.items()}
    assert native == {"dit": "adaln_zero", "uvit": "tokens", "cat": "adaln"}
    for name, p in plans.items():
        assert p.models["native+dw"].spec.backbone.kind == name
    assert len({t.key for p in plans.values() for t in p.trials}) == 3 * 6
    commands = {name: command(manifest(p)) for name, p in plans.items()}  # as the report prints
    assert "--backbone" not in commands["dit"] and "--backbone cat" in commands["cat"]


def test_every_committed_study_can_be_planned_on_each_backbone_at_quick():
    for path in sorted((ROOT / "studies").glob("*.yaml")):
        if kind_of(path) != "train":
            continue
        for backbone in read_study(path).study.backbones:
            assert plan(read_study(path, backbone=backbone), read_scale("quick"), all_arms=True)


def test_how_a_step_is_computed_is_not_in_the_key(tiny, tiny_plan):
    """Micro-batches, recomputed activations, processes: a trial may resume with others."""
    text = (tiny / "scale.yaml").read_text() + "resources: {processes: 2}\n"
    text = text.replace("images: 192,", "images: 192, micro_batch: 8, checkpointing: true,")
    write(tiny / "shared.yaml", text)
    shared = plan(read_study(tiny / "tiny.yaml"), read_scale("shared.yaml"), all_arms=True)
    assert [trial.key for trial in shared.trials] == [trial.key for trial in tiny_plan.trials]
    assert all(trial.passes == Passes(8, True) for trial in shared.trials)
