"""Counts of MACs and parameters are pinned under macs.VERSION and the versions of the parts.

See pins.py for what to do when a test here fails.
"""

from pathlib import Path

import pins
import pytest
from specs import ELSEWHERE, METHODS, TOKENS, model_spec

from cabench.cost import macs

PINS = Path(__file__).parent / "versions.json"
CASES = [("dit", name) for name in ELSEWHERE]
CASES += [
    (b, name) for b in ("uvit", "cat") for name in ("adaln_zero", "can-all", "cross_attention")
]
CASES += [("uvit", TOKENS[0])]


def check(backbone, name):
    spec = model_spec(**METHODS[name], backbone=backbone)
    parameters = {f"parameters of {k}": n for k, n in macs.parameter_counts(spec).dump().items()}
    count = macs.fvcore_macs(spec)
    parts = ("backbone", "conditioning", "total")
    numbers = {f"MACs of {part}": getattr(count, part) for part in parts} | parameters
    versions = {"macs.VERSION": macs.VERSION, **pins.versions_of(spec)}
    pins.check(PINS, f"{name} on {backbone}", versions, numbers)


@pytest.mark.parametrize(("backbone", "name"), CASES)
def test_counts_change_only_with_a_version(backbone, name):
    check(backbone, name)


def test_every_case_is_pinned_and_nothing_else():
    assert set(pins.read(PINS)) == {f"{name} on {backbone}" for backbone, name in CASES}


def test_a_change_of_the_convention_is_caught(monkeypatch):
    """Attention counted twice."""
    monkeypatch.delenv(pins.REPIN, raising=False)
    name = "aten::scaled_dot_product_attention"
    handle = macs.HANDLES[name]
    monkeypatch.setitem(macs.HANDLES, name, lambda *args: 2 * handle(*args))
    macs._count_once.cache_clear()
    with pytest.raises(AssertionError, match=r"no version did.*macs.VERSION"):
        check("dit", "adaln_zero")
    macs._count_once.cache_clear()
