"""What the tests share: a study and a scale that run in seconds on scikit-learn's digits."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import torch

from cabench.study import plan, read_scale, read_study

ROOT = Path(__file__).parent.parent
SOURCE = ["timestep", "label"]

TINY_SCALE = """
scale: tiny
data:
  - {streams: [label], source: digits}
backbones:
  dit: {preset: micro, patch: 4}
training: {images: 192, batch: 32, lr: 2.0e-3, warmup: 64, ema_half_life: 64, snapshot_every: 96}
diffusion: {prediction: flow}
sampling: {steps: 3, n: 100, batch: 40}
metrics: [kid, condition_accuracy, heldout_loss]
heldout: {images: 40, bins: 4}
seeds: 2
"""

TINY_STUDY = """
study: tiny
question: Does it run?
baseline: native+dw
arms:
  native+dw: {methods: [native], depthwise: static}
  can-3: {methods: [{can: {sites: [depthwise, patch_embed, attn_out]}}]}
  can-all: {methods: [{can: {sites: all}}], extra: true}
claims:
  - {id: C1, says: it is better, better: can-3, than: native+dw, metric: kid, test: superiority}
"""


@pytest.fixture(autouse=True)
def one_thread():
    """Bits are promised for one thread a trial."""
    torch.set_num_threads(1)


def write(path: Path, text: str) -> Path:
    path.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
    return path


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A folder with tiny.yaml (study) and scale.yaml, made the current one."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "tiny.yaml", TINY_STUDY)
    write(tmp_path / "scale.yaml", TINY_SCALE)
    return tmp_path


@pytest.fixture
def tiny_plan(tiny):
    return plan(read_study(tiny / "tiny.yaml"), read_scale("scale.yaml"), all_arms=True)


def model_spec(methods, depthwise=True, affine=False, preset="micro", **more) -> dict:
    """A resolved model spec without a study: DiT on 1x8x8 pictures, 10 labels."""
    from cabench.models.backbones.dit import DiT

    sizes = DiT.presets[preset]
    backbone = {"kind": "dit", "version": 1, "shape": [1, 8, 8], **sizes, "patch": 2,
                "depthwise": depthwise, "norm_affine": affine} | more  # fmt: skip
    embedder = {"version": 1, "width": sizes["width"], "normalise": True, "classes": {"label": 10}}
    return {"backbone": backbone, "embedder": embedder, "methods": methods}


def method(kind, source=None, **options) -> dict:
    return {"kind": kind, "version": 1, "options": {"source": source or SOURCE, **options}}


# Every method in every form, as (spec builder arguments): the tests of the seam run over all.
METHODS = {
    "adaln_zero": dict(methods=[method("adaln_zero")]),
    "can-3": dict(methods=[method("can")], affine=True),
    "can-all": dict(methods=[method("can", sites="all")], affine=True),
    "can-unshared": dict(methods=[method("can", shared=False)], affine=True),
    "can-bias": dict(methods=[method("can", bias=True)], affine=True),
    "can-bottleneck": dict(
        methods=[method("can", generator="bottleneck", rank=5)], affine=True
    ),
    "native+can-3": dict(methods=[method("adaln_zero"), method("can")]),
    "can-gate": dict(methods=[method("can")], affine=True, static_gate=True),
}  # fmt: skip
