"""Fixtures of all tests, and a study and a scale that run in seconds on scikit-learn's digits."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from runs import finish, outcome
from specs import write

from cabench.config.study import read_scale, read_study
from cabench.planning.trials import plan

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
primary: kid
"""


LONG = ("test_kills.py", "test_ray.py")  # run first, so that no worker waits for them at the end


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(autouse=True)
def reproducible():
    """One thread, as results are promised to the bit per thread count, and seeded random draws."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


@pytest.fixture(autouse=True)
def page_width(monkeypatch):
    """The width of printed tables; test runners set their own."""
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A folder with tiny.yaml (the study) and scale.yaml; the working directory of the test."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "tiny.yaml", TINY_STUDY)
    write(tmp_path / "scale.yaml", TINY_SCALE)
    return tmp_path


@dataclass(frozen=True)
class Finished:
    root: Path
    outcome: dict[str, dict]  # by key: spec, metrics, cost


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The tiny study run to its end in one process, once for all workers of a test run."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "undisturbed"
    with FileLock(f"{root}.lock"):
        if not (root / "done").exists():
            root.mkdir()
            write(root / "tiny.yaml", TINY_STUDY)
            write(root / "scale.yaml", TINY_SCALE)
            finish(root, "--executor", "local")
            (root / "done").touch()
    return Finished(root, outcome(root / "results"))


@pytest.fixture
def tiny_plan(tiny):
    return plan(read_study(tiny / "tiny.yaml"), read_scale("scale.yaml"), all_arms=True)
