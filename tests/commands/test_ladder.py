"""`cabench ladder` on two tiny scales, with real trials."""

import json

import pytest
from cli import cabench

SCALE = """
scale: {name}
data:
  - {{streams: [label], source: digits}}
backbones:
  dit: {{preset: micro, patch: 4}}
training: {{images: {images}, batch: 32, lr: 2.0e-3, ema_half_life: 64, snapshot_every: 96}}
diffusion: {{prediction: flow}}
sampling: {{steps: 2, n: 10, batch: 10}}
metrics: [heldout_loss]
heldout: {{images: 40, bins: 4}}
seeds: 2
"""
STUDY = """
study: tiny
question: Which arm has the lower loss?
primary: heldout_loss
baseline: native+dw
arms:
  native+dw: {methods: [native], depthwise: static}
  bare: {methods: [], depthwise: static}
"""
WORDS = ("ladder", "tiny.yaml", "--rungs", "large.yaml,small.yaml", "--executor", "local")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(STUDY)
    for name, images in (("small", 96), ("large", 384)):
        (tmp_path / f"{name}.yaml").write_text(SCALE.format(name=name, images=images))
    (tmp_path / "guess.yaml").write_text("order: [native+dw, bare]\n")
    return tmp_path


def test_a_ladder_runs_its_rungs_and_scores_a_prediction(folder):
    done = cabench(*WORDS, "--prediction", "guess.yaml")
    assert done.code == 0, done.err
    assert "the prediction orders 100% of the pairs as large does" in done.out
    assert done.out.index("at scale small") < done.out.index("at scale large")
    written = json.loads((folder / "results" / "ladder.tiny" / "ladder.json").read_text())
    assert [rung["scale"] for rung in written["rungs"]] == ["small", "large"]
    loss = {arm: each["score"] for arm, each in written["rungs"][1]["arms"].items()}
    assert loss["native+dw"] < loss["bare"]  # as the prediction says
    assert (folder / "results" / "ladder.tiny" / "ladder.png").stat().st_size > 10_000

    again = cabench(*WORDS, "--prediction", "guess.yaml")  # trains nothing, keeps the prediction
    assert again.code == 0 and "trials to run" not in again.out
    (folder / "guess.yaml").write_text("order: [bare, native+dw]\n")
    late = cabench(*WORDS, "--prediction", "guess.yaml")
    assert late.code == 2 and "'large' already has results" in late.err


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("[native+dw]", "expected every arm once, best first: native+dw, bare"),
        ("[native+dw, bear]", "did you mean 'bare'"),
    ],
)
def test_a_prediction_of_other_arms_is_refused(folder, order, said):
    (folder / "guess.yaml").write_text(f"order: {order}\n")
    done = cabench(*WORDS, "--prediction", "guess.yaml")
    assert done.code == 2 and said in done.err and not (folder / "results").exists()


def test_a_ladder_needs_two_scales(folder):
    for rungs in ("small.yaml", "small.yaml,small.yaml"):
        done = cabench("ladder", "tiny.yaml", "--rungs", rungs)
        assert done.code == 2 and "--rungs: expected" in done.err
