"""Corrupted files are detected by their checksums, reported and regenerated."""

import shutil

import pytest
from cli import cabench
from runs import COMMAND, outcome
from specs import some

pytestmark = pytest.mark.slow

DAMAGE = {
    "record": "results/records/" + "[0-9a-f]" * 16 + ".json",
    "curves": "results/records/*.curves.json",
    "sheet": "results/records/" + "[0-9a-f]" * 16 + ".png",
    "real images": "results/records/data-*.png",
    "manifest": "results/*/manifest.json",
    "outputs": "results/*/outputs.json",
    "snapshot": ".cabench/training/*/ema-0000000192.safetensors",
    "state": ".cabench/training/*/state.safetensors",
    "samples": ".cabench/samples/*.safetensors",
    "features": ".cabench/judge/features-*.npz",
    "probe": ".cabench/judge/probe-*.npz",
    "judge": ".cabench/judge/*.onnx",
}


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.fixture(scope="module")
def whole(undisturbed, tmp_path_factory):
    """A finished study, for one test after the other to damage and mend."""
    root = tmp_path_factory.mktemp("whole")
    shutil.copytree(undisturbed.root, root, dirs_exist_ok=True)
    return root


SPOIL = {what: (half, flipped)[i % 2] for i, what in enumerate(DAMAGE)}  # in turn


@pytest.mark.parametrize("what", some(DAMAGE, ("record", "samples")))
def test_a_corrupted_file_is_named_and_regenerated(whole, undisturbed, monkeypatch, what):
    from cabench.execution.assets import ASSETS

    monkeypatch.chdir(whole)
    ASSETS.clear()  # as in a process of its own
    victim = sorted(whole.glob(DAMAGE[what]))[0]
    victim.write_bytes(SPOIL[what](victim.read_bytes()))
    spoilt = victim.read_bytes()
    cached = what in ("snapshot", "state", "samples", "features", "probe", "judge")
    if cached:  # it is looked at when a trial needs it
        for path in (whole / "results/records").glob("*.json"):
            path.unlink()
        if what in ("state", "features", "probe", "judge"):  # only when these are gone, too
            for path in whole.glob(".cabench/training/*/ema-*.safetensors"):
                path.unlink()
    text = run_here("--executor", "local")
    assert outcome(whole / "results") == undisturbed.outcome
    if what not in ("manifest", "outputs"):  # these two are written by every run
        assert victim.name in text and "corrupted" in text, text
    if what != "outputs":
        assert victim.read_bytes() != spoilt


def run_here(*more: str) -> str:
    code, out, err = cabench(*COMMAND, *more)
    assert code == 0, out + err
    return out + err
