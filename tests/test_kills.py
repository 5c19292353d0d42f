"""Nothing is lost: a killed run goes on with the same command and ends with the same bits."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from specs import ROOT

from cabench.store import Store

COMMAND = ["run", "tiny.yaml", "--scale", "scale.yaml"]
KILLS = int(os.environ.get("CABENCH_KILLS", "4"))  # random ones; CABENCH_KILLS=50 for a long test


def outcome(root: Path) -> dict[str, dict]:
    found = {}
    for path in sorted((root / "results/records").glob("*.json")):
        if "." not in path.stem:
            record = Store(root / "results", root).sound(path.stem)
            found[path.stem] = {part: record[part] for part in ("spec", "metrics", "cost")}
    return found


def finish(root: Path, *more: str) -> str:
    call = [sys.executable, "-m", "cabench.cli", *COMMAND, *more]
    done = subprocess.run(call, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    from conftest import TINY_SCALE, TINY_STUDY
    from specs import write

    root = tmp_path_factory.mktemp("undisturbed")
    write(root / "tiny.yaml", TINY_STUDY)
    write(root / "scale.yaml", TINY_SCALE)
    finish(root, "--executor", "local")
    return outcome(root)


def test_killed_at_each_write_it_ends_with_the_same_bits(tiny, undisturbed):
    places = 7  # a trial writes seven files
    call = [sys.executable, str(ROOT / "tests/kill_points.py"), str(places), "--", *COMMAND]
    done = subprocess.run(
        [*call, "--executor", "local"], cwd=tiny, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 2 * places  # every place at least once, before and after
    assert outcome(tiny) == undisturbed


def workers_of(driver: psutil.Process) -> list[psutil.Process]:
    found = []
    for process in driver.children(recursive=True):
        try:
            if process.cmdline()[:1] == ["ray::ImplicitFunc.train"]:
                found.append(process)
        except psutil.Error:
            pass
    return found


def test_random_kills_of_driver_and_workers(tiny, undisturbed):
    """SIGKILL at random moments of a run on Ray, alternately of the driver and of a worker."""
    moments, killed = random.Random(0), {"driver": 0, "worker": 0}
    for kill in range(KILLS):
        call = [sys.executable, "-m", "cabench.cli", *COMMAND, "--jobs", "2"]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        driver = subprocess.Popen(call, cwd=tiny, start_new_session=True, **silent)
        watched = psutil.Process(driver.pid)
        if kill % 2:
            deadline = time.monotonic() + 60
            while not workers_of(watched) and time.monotonic() < deadline:
                time.sleep(0.1)
                if driver.poll() is not None:
                    break
            time.sleep(moments.uniform(0, 8))
            victims = [p for p in workers_of(watched) if p.is_running()]
            if victims:
                moments.choice(victims).send_signal(signal.SIGKILL)
                killed["worker"] += 1
            assert driver.wait(timeout=200) == 0  # it goes on in another worker
        else:
            time.sleep(moments.uniform(2, 20))
            killed["driver"] += driver.poll() is None
            driver.kill()
            driver.wait()
        for key in outcome(tiny).keys() & undisturbed.keys():
            assert outcome(tiny)[key] == undisturbed[key]
        if kill < KILLS - 1:  # something is left to be killed in the next round
            for path in sorted((tiny / "results/records").glob("*.json"))[:2]:
                path.unlink()
    finish(tiny, "--executor", "local")
    assert killed["driver"] and outcome(tiny) == undisturbed


DAMAGE = {
    "record": "results/records/" + "[0-9a-f]" * 16 + ".json",
    "curves": "results/records/*.curves.json",
    "sheet": "results/records/" + "[0-9a-f]" * 16 + ".png",
    "real pictures": "results/records/data-*.png",
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
def whole(tmp_path_factory, undisturbed):
    """A finished study, for one test after the other to damage and mend."""
    from conftest import TINY_SCALE, TINY_STUDY
    from specs import write

    root = tmp_path_factory.mktemp("whole")
    write(root / "tiny.yaml", TINY_STUDY)
    write(root / "scale.yaml", TINY_SCALE)
    finish(root, "--executor", "local")
    return root


@pytest.mark.parametrize("spoil", [half, flipped], ids=["half", "a bit"])
@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_damaged_is_named_and_made_again(
    whole, undisturbed, monkeypatch, capsys, what, spoil
):
    from cabench import trial

    monkeypatch.chdir(whole)
    trial._scorer.cache_clear()  # as in a process of its own
    victim = sorted(whole.glob(DAMAGE[what]))[0]
    victim.write_bytes(spoil(victim.read_bytes()))
    spoilt = victim.read_bytes()
    cached = what in ("snapshot", "state", "samples", "features", "probe", "judge")
    if cached:  # it is looked at when a trial needs it
        for path in (whole / "results/records").glob("*.json"):
            path.unlink()
        if what in ("state", "features", "probe", "judge"):  # only when these are gone, too
            for path in whole.glob(".cabench/training/*/ema-*.safetensors"):
                path.unlink()
    text = run_here("--executor", "local", capsys=capsys)
    assert outcome(whole) == undisturbed
    if what not in ("manifest", "outputs"):  # these two are written by every run
        assert victim.name in text and "damaged" in text, text
    if what != "outputs":
        assert victim.read_bytes() != spoilt


def run_here(*more: str, capsys) -> str:
    from cabench import cli

    old, sys.argv = sys.argv, ["cabench", *COMMAND, *more]
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = old
    out = capsys.readouterr()
    assert code == 0, out.out + out.err
    return out.out + out.err


def test_two_runs_at_once_do_no_work_twice(tiny, undisturbed):
    call = [sys.executable, "-m", "cabench.cli", *COMMAND, "--executor", "local"]
    both = [subprocess.Popen(call, cwd=tiny, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    texts = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    assert outcome(tiny) == undisturbed
    marks = [json.loads(p.read_text())["timing"].get("trial_s") for p in
             (tiny / "results/records").glob("*.json") if "." not in p.stem]  # fmt: skip
    assert len(marks) == 4 and all(marks)
