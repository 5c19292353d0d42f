"""examples/slurm_ray.sh, with Slurm's commands replaced by ones that run on this machine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import COMMAND, outcome
from specs import ROOT, write

SCRIPT = ROOT / "examples" / "slurm_ray.sh"
COMMANDS = {
    # the job's nodes, or a note that the job was put back into the queue
    "scontrol": """
case $1 in
show) echo "$SLURM_JOB_NODELIST" | tr , '\\n' ;;
requeue) echo "$2" > requeued ;;
esac
""",
    # without its own options, the command is run here
    "srun": """
while [[ $1 == -* ]]; do [ "$1" = -w ] && shift; shift; done
if [ "$1" = hostname ]; then echo "127.0.0.1"; else exec "$@"; fi
""",
}


@pytest.fixture
def job(tiny, tmp_path_factory):
    """start(script's arguments) -> the script's process, in a job of two nodes."""
    folder = tmp_path_factory.mktemp("slurm")
    for name, text in COMMANDS.items():
        write(folder / name, f"#!/usr/bin/env bash\n{text}")
        (folder / name).chmod(0o755)
    path = [str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = os.environ | {
        "PATH": os.pathsep.join(path),
        "SLURM_JOB_ID": "17",
        "SLURM_JOB_NODELIST": "node1,node2",
        "SLURM_CPUS_PER_TASK": "1",
        "RAY_PORT": "26379",
    }

    def start(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [SCRIPT, *words], cwd=tiny, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    return start


@pytest.mark.full
def test_a_job_runs_a_study_on_its_nodes(tiny, undisturbed, job):
    process = job(*COMMAND[1:])
    text, _ = process.communicate(timeout=400)
    assert process.returncode == 0 and "2 side by side" in text, text
    assert outcome(tiny / "results") == undisturbed.outcome
    assert not (tiny / "requeued").exists()


@pytest.mark.full
def test_before_its_time_limit_a_job_stops_and_is_queued_again(tiny, job):
    write(
        tiny / "scale.yaml",
        (tiny / "scale.yaml").read_text().replace("images: 192", "images: 192000"),
    )
    process = job(*COMMAND[1:])
    deadline = time.monotonic() + 200
    while not any((tiny / ".cabench/training").glob("*/*.safetensors")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 143, text
    assert (tiny / "requeued").read_text().split() == ["17"]
