"""scripts/gpu_check.sh: a rehearsal on a CPU, in which every part writes its table; its faults."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import tarfile
import time
from importlib import import_module

import pytest
from specs import ROOT, write

from cabench.models import cuda_forms, kernels

SCRIPT = ROOT / "scripts" / "gpu_check.sh"


@pytest.mark.full
def test_a_rehearsal_on_the_cpu_fills_every_table(tmp_path):
    out = tmp_path / "out"
    environment = os.environ | {"OUT": str(out), "PYTHON": sys.executable, "LIMIT": "400"}
    command = [str(SCRIPT), "--device", "cpu", "--dry"]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    assert not (out / "errors.txt").exists(), (out / "errors.txt").read_text()
    assert not (out / "failed.txt").exists()
    with tarfile.open(out / "gpu_check.tar.gz") as tar:
        files = {name.removeprefix("gpu_check/") for name in tar.getnames()}
    tables = {}
    for name in ("eager", "compiled", "tests", "study", "forms", "further"):
        assert f"{name}.csv" in files
        tables[name] = list(csv.DictReader((out / f"{name}.csv").open()))
        assert not [row for row in tables[name] if row.get("error")]
    works = {(row["part"], row["work"]) for row in tables["eager"] + tables["compiled"]}
    for part in ("step, eager", "sampling, eager", "step, compiled", "sampling, compiled"):
        assert {work for p, work in works if p == part} >= {"control", "can-3", "diffusers"}
    assert tables["tests"][0]["exit_code"] == "0"
    timings = cuda_forms.read(out / "cuda_forms.csv")
    for kind, names in kernels.FORMS.items():
        assert {timing.form for timing in timings if timing.kind == kind} == set(names)
    assert len(tables["study"]) == 6  # three arms, two seeds
    assert all(row["status"] == "complete" for row in tables["study"])
    for key in (row["key"] for row in tables["study"]):
        assert {f"results/records/{key}.json"} <= files


def test_the_time_limit_leaves_a_tar_of_what_there_is(tmp_path):
    out = tmp_path / "out"
    environment = os.environ | {"OUT": str(out), "PYTHON": sys.executable, "LIMIT": "1"}
    run = subprocess.run([str(SCRIPT), "--device", "cpu"], capture_output=True, env=environment)
    assert run.returncode == 124
    assert (out / "gpu_check.tar.gz").exists()


@pytest.fixture
def gpu_check(monkeypatch):
    """The script as a module; it changes the path of modules."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    return import_module("gpu_check")


def members(out):
    with tarfile.open(out / "gpu_check.tar.gz") as tar:
        return {name.removeprefix("gpu_check/") for name in tar.getnames()}


def test_a_part_that_fails_is_named_and_the_others_run(gpu_check, tmp_path):
    """A part that raises, one whose measurement fails, one that works, one without time."""
    check = gpu_check.Check("cpu", True, tmp_path, time.time() + 600)

    def broken():
        raise RuntimeError("no kernel image")

    def partly():
        makers = {"static": lambda: lambda: None, "wide": broken}
        check.table("forms", gpu_check.timed(check, "layer", makers, "static", 4))

    def working():
        check.table("further", [{"part": "nano", "images_per_s": 3.0}])

    def slow():
        check.end = time.time()

    gpu_check.run_parts(
        check, {"eager": broken, "forms": partly, "further": working, "slow": slow, "last": broken}
    )
    assert list(check.faults) == ["eager", "forms", "last"]
    failed = (tmp_path / "failed.txt").read_text().splitlines()
    assert failed == [
        "eager: RuntimeError: no kernel image; see errors.txt",
        "forms: layer, wide: RuntimeError: no kernel image",
        "last: no time left",
    ]
    rows = {row["work"]: row for row in csv.DictReader((tmp_path / "forms.csv").open())}
    assert float(rows["static"]["ms"]) >= 0 and "no kernel image" in rows["wide"]["error"]
    assert members(tmp_path) >= {"forms.csv", "further.csv", "failed.txt", "errors.txt", "log.txt"}
    assert "failed parts: eager, forms, last" in (tmp_path / "log.txt").read_text()


def test_a_trial_has_a_row_and_its_curves_have_none(gpu_check, tmp_path):
    records = ROOT / "results" / "reference" / "records"
    key = next(records.glob("*.curves.json")).name.partition(".")[0]
    for name in (f"{key}.json", f"{key}.curves.json"):
        shutil.copy(records / name, tmp_path)
    (row,) = gpu_check.trial_rows(tmp_path)
    assert row["key"] == key and row["status"] == "complete"
    assert row["train_images_per_s"] > 0 and "kid_levels" in row


def test_the_exit_code_is_that_of_the_parts(gpu_check, tmp_path, monkeypatch):
    """`main` with the part `further`, which fails, then works."""
    options = ["gpu_check.py", "--device", "cpu", "--dry", "--part", "further", "--out"]
    monkeypatch.setattr(sys, "argv", [*options, str(tmp_path)])
    for part, code in ((lambda check: check.fault("no kernel image"), 1), (lambda check: None, 0)):
        monkeypatch.setattr(gpu_check, "further", part)
        with pytest.raises(SystemExit) as stop:
            gpu_check.main()
        assert stop.value.code == code


def test_the_script_passes_the_fault_on_and_keeps_the_results(tmp_path):
    """With a program in the place of Python that writes a table and a fault."""
    python = write(
        tmp_path / "python",
        """
        #!/bin/sh
        echo part,ms > "$OUT/eager.csv"
        echo "eager: no kernel image" > "$OUT/failed.txt"
        exit 1
        """,
    )
    python.chmod(0o755)
    out = tmp_path / "out"
    environment = os.environ | {"OUT": str(out), "PYTHON": str(python), "WHEELS": "none"}
    run = subprocess.run([str(SCRIPT)], capture_output=True, text=True, env=environment)
    assert run.returncode == 1 and "eager: no kernel image" in run.stderr
    assert {"./eager.csv", "./failed.txt"} <= members(out)
