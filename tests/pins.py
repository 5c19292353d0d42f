"""Pinned numbers: a check fails when numbers change and the version that stands for them does not.

A record's key holds the version of every part that decides its numbers. If the numbers of a part
change and its version does not, old records pass for new ones. So each part has a small computation
whose results are pinned, together with its versions, in a JSON file beside the test.

After an intended change: raise the version, then run the test with CABENCH_REPIN=1. That pins the
numbers of new versions only; the numbers of a version that is already pinned never change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from cabench.records.spec import ModelSpec
from cabench.registry import BACKBONES, METHODS

REPIN = "CABENCH_REPIN"
Numbers = Mapping[str, float | int]


def read(file: Path) -> dict[str, dict]:
    """{name: {versions: {...}, numbers: {...}}}."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def check(
    file: Path,  # of the pins
    name: str,  # of the computation
    versions: Mapping[str, int],  # of every part that decides its numbers
    numbers: Numbers,
    rel: float = 1e-8,  # of float64 results; int numbers must be equal
) -> None:
    """Fails when `numbers` are not the pinned ones, or are not pinned for these versions."""
    pins = read(file)
    pin = pins.get(name)
    again = f"{REPIN}=1 pytest {os.path.relpath(file.with_name('test_versions.py'))}"
    if pin is not None and pin["versions"] == versions:
        changed = differences(pin["numbers"], numbers, rel)
        assert not changed, (
            f"{name}: numbers changed, but no version did: {'; '.join(changed)}. If the change is "
            f"intended, raise the version of the part that changed ({listed(versions)}), then run "
            f"{again}"
        )
    elif os.environ.get(REPIN):
        pins[name] = {
            "versions": dict(versions),
            "numbers": {k: short(numbers[k]) for k in numbers},
        }
        lines = (f"  {json.dumps(key)}: {json.dumps(pins[key])}" for key in sorted(pins))
        file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    else:
        pinned = "nothing" if pin is None else listed(pin["versions"])
        raise AssertionError(f"{name}: expected pins for {listed(versions)}, got {pinned}; {again}")


def differences(pinned: Numbers, numbers: Numbers, rel: float) -> list[str]:
    """'loss: pinned 0.5, got 0.6' for each number that differs."""
    return [
        f"{name}: pinned {pinned.get(name)}, got {numbers.get(name)}"
        for name in [*pinned, *(name for name in numbers if name not in pinned)]
        if not equal(pinned.get(name), numbers.get(name), rel)
    ]


def equal(pinned: float | int | None, number: float | int | None, rel: float) -> bool:
    if pinned is None or number is None or isinstance(pinned, int):
        return pinned == number
    return number == pytest.approx(pinned, rel=rel, abs=rel)


def short(number: float | int) -> float | int:
    return number if isinstance(number, int) else float(f"{number:.12g}")


def listed(versions: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def versions_of(spec: ModelSpec) -> dict[str, int]:
    """The versions of the backbone and the methods of a model."""
    backbone, methods = spec.backbone.kind, [method.kind for method in spec.methods]
    return {
        f"version of backbone {backbone}": BACKBONES.get(backbone).version,
        **{f"version of method {kind}": METHODS.get(kind).version for kind in methods},
    }


def statistics(name: str, value: torch.Tensor) -> dict[str, float]:
    """Mean square of a tensor, and its product with fixed noise, which sees the order of values."""
    flat = value.detach().double().flatten()
    noise = torch.randn(len(flat), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {name: flat.square().mean().item(), f"{name} x noise": (flat @ noise).item()}


@torch.no_grad()
def fill(model: torch.nn.Module, seed: int = 0, spread: float = 0.2) -> torch.nn.Module:
    """Draws every parameter from a normal distribution: none is zero, so every part matters."""
    g = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) * spread)
    return model
