"""A fault of the machine stops a run; no arm gets a failed record for it."""

import errno
import os

import pytest

from cabench.errors import DataMissing
from cabench.execution import assets
from cabench.execution.assets import ASSETS
from cabench.execution.trial import run_trial
from cabench.records.store import Store

NAMES = ("ESTALE", "EMFILE", "ENOMEM", "ETIMEDOUT", "ENOLCK")


@pytest.fixture
def store(tiny):
    ASSETS.clear()
    return Store(tiny / "results", tiny / ".cabench")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_data_source_that_the_machine_fails(tiny_plan, store, monkeypatch, name, wrapped):
    def load(*_, **__):
        fault = OSError(getattr(errno, name), "fault", "images.npz")
        if wrapped:
            raise DataMissing("images.npz cannot be read") from fault
        raise fault

    monkeypatch.setattr(assets, "load_dataset", load)
    with pytest.raises(DataMissing if wrapped else OSError, match=r"images\.npz"):
        run_trial(tiny_plan.trials[0], store)
    assert not list(store.results.rglob("*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ENOLCK", "ESTALE"])
def test_a_file_that_the_machine_cannot_write(tiny_plan, store, monkeypatch, name):
    replace = os.replace

    def fail(source, target):
        if str(target).endswith(".safetensors"):
            raise OSError(getattr(errno, name), "fault", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match=r"fault.*safetensors"):
        run_trial(tiny_plan.trials[0], store)
    assert not list(store.results.rglob("*.json"))
