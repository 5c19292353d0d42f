"""examples/slurm_*.sh, with Slurm's commands replaced by ones that run on this machine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import COMMAND, outcome
from specs import ROOT, write

from cabench.records.store import Store

RAY, TORCHRUN = (ROOT / "examples" / f"slurm_{name}.sh" for name in ("ray", "torchrun"))
COMMANDS = {
    # the job's nodes, or a note that the job was put back into the queue
    "scontrol": """
case $1 in
show) echo "$SLURM_JOB_NODELIST" | tr , '\\n' ;;
requeue) echo "$2" > requeued ;;
esac
""",
    # without its own options, the command is run here, once for each task
    "srun": """
tasks=1
while [[ $1 == -* ]]; do
    [[ $1 == --ntasks=* ]] && tasks=${1#*=}
    [ "$1" = -w ] && shift
    shift
done
if [ "$1" = hostname ]; then echo "127.0.0.1"; exit; fi
[ "$tasks" -gt 1 ] || exec "$@"
trap 'kill -TERM $(jobs -p)' TERM
code=0
for ((i = 0; i < tasks; i++)); do "$@" & done
for job in $(jobs -p); do wait "$job" || code=$?; done
exit "$code"
""",
}


@pytest.fixture
def job(tiny, tmp_path_factory):
    """start(script's arguments, script) -> the script's process, in a job of two nodes."""
    folder = tmp_path_factory.mktemp("slurm")
    for name, text in COMMANDS.items():
        write(folder / name, f"#!/usr/bin/env bash\n{text}")
        (folder / name).chmod(0o755)
    path = [str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = os.environ | {
        "PATH": os.pathsep.join(path),
        "SLURM_JOB_ID": "17",
        "SLURM_JOB_NODELIST": "localhost,node2",
        "SLURM_CPUS_PER_TASK": "1",
        "RAY_PORT": "26379",
        "MASTER_PORT": "26380",
        "PROCESSES": "1",
    }

    def start(*words: str, script: Path = RAY) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [script, *words], cwd=tiny, env=environment, text=True,
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
def test_torchrun_shares_each_trial_among_the_nodes(tiny, undisturbed, job):
    process = job(*COMMAND[1:], "--seeds", "1", script=TORCHRUN)
    text, _ = process.communicate(timeout=500)
    assert process.returncode == 0 and text.count("2 processes each") == 1, text
    records = outcome(tiny / "results")
    assert len(records) == 2 and records.keys() <= undisturbed.outcome.keys()
    store = Store(tiny / "results", tiny / ".cabench")
    assert all(store.sound(key).environment.ranks == 2 for key in records)


@pytest.mark.full
@pytest.mark.parametrize("script", [RAY, TORCHRUN])
def test_before_its_time_limit_a_job_stops_and_is_queued_again(tiny, job, script):
    write(
        tiny / "scale.yaml",
        (tiny / "scale.yaml").read_text().replace("images: 192", "images: 192000"),
    )
    process = job(*COMMAND[1:], script=script)
    deadline = time.monotonic() + 200
    while not any((tiny / ".cabench/training").glob("*/*.safetensors")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=200)
    assert process.returncode == (143 if script == RAY else 1), text
    assert not list((tiny / "results/records").glob("*.json"))
    assert (tiny / "requeued").read_text().split() == ["17"]
