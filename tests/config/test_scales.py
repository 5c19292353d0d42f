"""The scales that need a GPU: every study can be planned, and its cost follows from MACs."""

import pytest
from cli import cabench
from pydantic import ValidationError
from specs import ROOT, write

from cabench.commands import dry_run as dryrun
from cabench.config.cost_study import kind_of
from cabench.config.scale import Resources
from cabench.config.study import read_scale, read_study
from cabench.cost.macs import meta_macs
from cabench.execution.run import Options, prepare
from cabench.planning.trials import plan

STUDIES = [p for p in sorted((ROOT / "studies").glob("*.yaml")) if kind_of(p) == "train"]
LARGE = {"gpu": "label", "paper": "label", "paper-coco": "text"}  # and the stream they carry


@pytest.fixture(autouse=True)
def no_data(tmp_path, monkeypatch):
    """Nothing here, and nothing to be downloaded."""
    monkeypatch.chdir(tmp_path)

    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", offline)


@pytest.mark.parametrize("scale", LARGE)
def test_every_committed_study_can_be_planned_at_large_scales(scale):
    planned = 0
    for path in STUDIES:
        for backbone in read_study(path).study.backbones:
            file = read_study(path, backbone=backbone)
            if file.study.needs != [LARGE[scale]]:
                continue
            at_scale = plan(file, read_scale(scale))
            assert at_scale.data.missing and at_scale.arms == list(file.study.arms)
            planned += 1
    assert planned


@pytest.mark.slow
def test_gpu_hours_follow_from_macs_images_and_sampling(tmp_path, monkeypatch, capsys):
    """Of one arm by hand; and no step is timed on a machine that has no such GPU."""
    monkeypatch.setattr(dryrun, "seconds_per_image", None)
    options = Options(scale="paper", device="cpu", seeds="1")
    prepared = prepare(ROOT / "studies" / "tuned_rates.yaml", options)
    assert dryrun.show_plan(prepared) == 0
    text = capsys.readouterr().out
    model = prepared.plan.models["native+dw"].spec
    macs = meta_macs(model).total
    assert macs == pytest.approx(6.06e9, rel=0.01)  # DiT-S/2; and a depthwise convolution a block
    evaluations = 3 * 102_400_000 + (1 + 2) * 50_000 * 250  # guidance 1 is one pass, 1.5 two
    hours = 2 * macs * evaluations / (312e12 * 0.4) / 3600
    row = next(line for line in text.splitlines() if line.startswith("native+dw"))
    assert float(row.split()[-1]) == pytest.approx(hours, rel=0.06) and "1 of 1" in row
    for said in (
        "one GPU per trial",
        "40% of 312 TFLOP/s",
        "GPU hours in total",
        "wall hours by number of GPUs:",
        "GB of it activations of 256 images a pass",
        "data missing: latents: no such file: data/imagenet256/facts.json",
    ):
        assert said in text
    stated = dryrun.stated_seconds_per_image({"a": 10**9}, prepared.plan.scale.resources)
    assert stated == {"a": pytest.approx(3 * 2e9 / (312e12 * 0.4))}


def test_a_run_without_the_data_says_how_to_get_it():
    code, _, err = cabench("run", ROOT / "studies/tuned_rates.yaml", "--scale", "gpu")
    assert code == 2 and err.count("\n") == 1
    assert "cifar-10-python.tar.gz" in err and "no network" in err


@pytest.mark.slow
def test_absent_weights_of_an_extractor_are_named_and_nothing_runs(tmp_path, monkeypatch):
    """A dry run succeeds; a run stops with one line that says where the weights are expected."""
    monkeypatch.setenv("CABENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", _offline)
    text = (ROOT / "cabench/config/scales/smoke.yaml").read_text()
    text = text.replace("metrics: [", "metrics: [kid_inception, ")
    scale = write(tmp_path / "s.yaml", text.replace("scale: smoke", "scale: mine"))
    study = ROOT / "studies/layer_placement.yaml"
    words = ("run", study, "--scale", scale, "--results", tmp_path / "r", "--cache", tmp_path / "c")
    code, _, err = cabench(*words)
    assert code == 2 and "inception-v3-compat" in err and len(err.strip().splitlines()) == 1
    code, out, _ = cabench(*words, "--dry-run")
    assert code == 0 and "data missing" in out


def _offline(*_, **__):
    raise OSError("no network")


def test_resources_say_how_many_processes_share_a_trial():
    resources = Resources(gpus=8, processes=3)
    ranks = {device: resources.ranks(device) for device in ("cuda", "cuda:1", "cpu", "mps")}
    assert ranks == {"cuda": 8, "cuda:1": 1, "cpu": 3, "mps": 1}
    assert Resources(gpus=0.125).ranks("cuda") == Resources().ranks("cuda") == 1
    with pytest.raises(ValidationError, match="gpus: expected a whole number above 1, got 2.5"):
        Resources(gpus=2.5)
