"""The rehearsal of scripts/gpu_check.sh on a CPU: every part writes its table."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tarfile

import pytest
from specs import ROOT


@pytest.mark.full
def test_a_rehearsal_on_the_cpu_fills_every_table(tmp_path):
    out = tmp_path / "out"
    environment = os.environ | {"OUT": str(out), "PYTHON": sys.executable, "LIMIT": "400"}
    script = ROOT / "scripts" / "gpu_check.sh"
    command = [str(script), "--device", "cpu", "--dry"]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    assert not (out / "errors.txt").exists(), (out / "errors.txt").read_text()
    with tarfile.open(out / "gpu_check.tar.gz") as tar:
        files = {name.removeprefix("gpu_check/") for name in tar.getnames()}
    tables = {}
    for name in ("eager", "compiled", "tests", "study", "further"):
        assert f"{name}.csv" in files
        tables[name] = list(csv.DictReader((out / f"{name}.csv").open()))
        assert not [row for row in tables[name] if row.get("error")]
    works = {(row["part"], row["work"]) for row in tables["eager"] + tables["compiled"]}
    for part in ("step, eager", "sampling, eager", "step, compiled", "sampling, compiled"):
        assert {work for p, work in works if p == part} >= {"control", "can-3", "diffusers"}
    assert tables["tests"][0]["exit_code"] == "0"
    assert len(tables["study"]) == 6  # three arms, two seeds
    assert all(row["status"] == "complete" for row in tables["study"])
    for key in (row["key"] for row in tables["study"]):
        assert {f"results/records/{key}.json"} <= files


def test_the_time_limit_leaves_a_tar_of_what_there_is(tmp_path):
    out = tmp_path / "out"
    environment = os.environ | {"OUT": str(out), "PYTHON": sys.executable, "LIMIT": "1"}
    script = str(ROOT / "scripts" / "gpu_check.sh")
    run = subprocess.run([script, "--device", "cpu"], capture_output=True, env=environment)
    assert run.returncode == 124
    assert (out / "gpu_check.tar.gz").exists()
