"""Ray Tune as the pool of workers: same bits as in process, a lost node, learning-rate searches."""

import contextlib
import json
import re
import subprocess
import time
from socket import AF_INET, AF_INET6, create_server

import psutil
import pytest
from cli import CALL, spawn
from conftest import TINY_SCALE
from runs import COMMAND, finish, outcome
from specs import write

from cabench.errors import CabenchError
from cabench.execution.executors.base import Pool
from cabench.execution.executors.ray_cluster import started
from cabench.execution.executors.session import DIED
from cabench.execution.run import Options, prepare

pytestmark = pytest.mark.slow


@pytest.mark.full
def test_a_study_survives_the_loss_of_a_node(tiny, undisturbed):
    """Two nodes on one machine, one killed while its worker trains: nothing lost, nothing twice."""
    from ray.cluster_utils import Cluster

    memory = {"object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **memory})
    try:
        second = cluster.add_node(num_cpus=1, **memory)
        driver = subprocess.Popen(
            [*CALL, *COMMAND, "--ray-address", cluster.address],
            cwd=tiny,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = []
        for line in driver.stdout:
            lines.append(line)
            if "[  1/4]" in line:
                cluster.remove_node(second, allow_graceful=False)
        assert driver.wait(timeout=200) == 0, "".join(lines)
    finally:
        cluster.shutdown()
    ended = [line.split(":")[0] for line in lines if line.startswith("[")]
    assert [e[:7] for e in ended] == [f"[  {i}/4]" for i in range(1, 5)]
    assert len({e[8:] for e in ended}) == 4
    assert outcome(tiny / "results") == undisturbed.outcome


@pytest.mark.full
def test_resources_that_no_node_has_are_refused(tiny):
    text = (tiny / "scale.yaml").read_text()
    write(tiny / "large.yaml", text + "resources: {cpus: 64}\n")
    prepared = prepare(tiny / "tiny.yaml", Options(scale="large.yaml"))
    assert prepared.jobs == 1 and prepared.executor == "local"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        words = (*COMMAND[:-1], "large.yaml", "--ray-address", cluster.address)
        done = spawn(*words, cwd=tiny, timeout=200)
    finally:
        cluster.shutdown()
    assert done.code == 2
    message = "resources: a trial takes 64 CPUs and 0 GPUs, the largest node has 2 and 0"
    assert done.err == f"cabench: {message}\n"


@pytest.mark.full
def test_no_cluster_at_the_address(tiny):
    for address, message in (
        ("127.0.0.1:1", "--ray-address '127.0.0.1:1': can't connect"),
        ("[::1]:1", "--ray-address '[::1]:1': can't connect"),
    ):
        text = finish(tiny, "--ray-address", address, code=2)
        assert message in text.splitlines()[-1] and "Traceback" not in text, text


@pytest.mark.parametrize("address", ["somewhere", "::1:6379", "[::1]", "a:b:80", "h:123456", ""])
def test_invalid_addresses_are_refused(tiny, address):
    message = f"--ray-address: expected HOST:PORT, [IPV6]:PORT or auto, got '{address}'"
    with pytest.raises(CabenchError, match=re.escape(message)):
        prepare(tiny / "tiny.yaml", Options(scale="scale.yaml", ray_address=address))


IPV6 = pytest.param("::1", AF_INET6, marks=pytest.mark.full)


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", AF_INET), IPV6])
def test_another_program_at_the_address_is_reported_soon(host, family):
    """It takes the connection and says nothing, as many do that wait for their own protocol."""
    try:
        server = create_server((host, 0), family=family)
    except OSError as error:
        pytest.skip(f"{host} can't be used here: {error}")
    with server:
        port = server.getsockname()[1]
        address = f"[{host}]:{port}" if family == AF_INET6 else f"{host}:{port}"
        began = time.monotonic()
        message = re.escape(f"--ray-address '{address}': ") + "(not a|no) Ray"
        with pytest.raises(CabenchError, match=message), started(Pool(jobs=1, address=address)):
            pass
        assert time.monotonic() - began < 20


TUNE = "tune: {trials: 3, budget: 0.5, range: [0.25, 4], start: [1, 2]}\n"


@pytest.mark.full
def test_each_arm_is_tuned_with_the_same_effort(tiny):
    write(tiny / "tiny.yaml", (tiny / "tiny.yaml").read_text() + TUNE)
    text = finish(tiny, "--jobs", "2", "--seeds", "1")
    assert "searching the learning rates of 2 arms, 3 evaluations of 96 images each" in text
    searches = json.loads((tiny / "results/tiny.tiny/manifest.json").read_text())["tuning"]
    for arm in ("native+dw", "can-3"):
        tried = searches[arm]["tried"]
        assert len(tried) == 3 and [rate for rate, _ in tried[:2]] == [0.002, 0.004]
        assert all(0.0005 <= rate <= 0.008 for rate, _ in tried)
        assert searches[arm]["lr"] == min(tried, key=lambda pair: pair[1])[0]
        assert searches[arm]["seed"] == 1000
    assert len({tuple(rate for rate, _ in searches[a]["tried"]) for a in searches}) == 1
    for path in (tiny / "results/records").glob("*.json"):
        if "." not in path.stem:
            record = json.loads(path.read_text())
            lr = record["spec"]["train"]["training"]["lr"]
            assert record["protocol"]["tuning"]["lr"] == lr
            assert record["spec"]["train"]["seed"] == 0

    assert "searching" not in finish(tiny, "--jobs", "2", "--seeds", "1")  # it is not repeated


@pytest.mark.full
def test_searches_one_by_one_and_side_by_side_find_the_same(tiny):
    write(tiny / "tiny.yaml", (tiny / "tiny.yaml").read_text() + TUNE)
    tuning = []
    for jobs in ("1", "2"):
        finish(tiny, "--jobs", jobs, "--seeds", "1", "--results", jobs, "--cache", f"{jobs}-cache")
        manifest = (tiny / jobs / "tiny.tiny/manifest.json").read_text()
        tuning.append(json.loads(manifest)["tuning"])
    assert tuning[0] == tuning[1]


def test_a_search_on_a_seed_of_the_trials_is_refused(tiny):
    text = (tiny / "tiny.yaml").read_text() + TUNE.replace("start", "seed: 1, start")
    write(tiny / "tiny.yaml", text)
    message = finish(tiny, code=2)
    assert "tiny.yaml:11: tune.seed: expected a seed that no trial uses" in message


@pytest.mark.parametrize(
    ("gpus", "memory", "fit"),
    [
        (0, 10**9, 2),
        pytest.param(1, 0, None, marks=pytest.mark.full),
        pytest.param(0, 10**15, None, marks=pytest.mark.full),
    ],
)
def test_places_are_what_the_machine_offers(gpus, memory, fit):
    pool = Pool(jobs=2, cpus=1, gpus=gpus, memory=memory)
    if fit is None:
        message = f"takes 1 CPUs, {gpus} GPUs and {memory / 1e9:.1f} GB; the largest node has 2, 0"
        with pytest.raises(CabenchError, match=message), started(pool):
            pass
    else:
        with started(pool) as places:
            assert places == fit
            assert not public_sockets(psutil.Process())


def public_sockets(process):
    """Addresses at which other machines reach a process or those below it."""
    listening = []
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            listening += [c.laddr for c in each.net_connections("inet") if c.status == "LISTEN"]
    assert listening
    return [a for a in listening if a.ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1")]


@pytest.mark.full
@pytest.mark.parametrize("name", ["gcs_server", "raylet"])
def test_a_run_ends_soon_after_ray_died(tiny, undisturbed, name):
    write(tiny / "scale.yaml", TINY_SCALE.replace("images: 192", "images: 192000"))
    call = [*CALL, *COMMAND, "--executor", "ray", "--jobs", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    driver = subprocess.Popen(call, cwd=tiny, **pipes)
    try:
        deadline = time.monotonic() + 120
        while not any((tiny / ".cabench/training").glob("*/*.safetensors")):
            assert time.monotonic() < deadline and driver.poll() is None
            time.sleep(0.2)
        below = psutil.Process(driver.pid).children(recursive=True)
        (victim,) = [process for process in below if process.name() == name]
        victim.kill()
        _, err = driver.communicate(timeout=40)
    finally:
        driver.kill()
    assert driver.returncode == 2 and err == f"cabench: {DIED}\n"
    write(tiny / "scale.yaml", TINY_SCALE)
    finish(tiny, "--executor", "local")  # no lock is left
    assert outcome(tiny / "results") == undisturbed.outcome


DEADLY = """
import os, signal
from cabench.models.conditioning.base import Method
from cabench.models.operations import Conditioning
from cabench.registry import METHODS

@METHODS.register("deadly")
class Deadly(Method):
    \"\"\"Does to its worker what the system does when memory runs out.\"\"\"

    def forward(self, embedded):
        if embedded["timestep"].device.type == "cpu":
            os.kill(os.getpid(), signal.SIGKILL)
        return Conditioning()
"""


@pytest.mark.full
def test_an_arm_that_kills_its_workers_fails_alone(tiny):
    write(tiny / "deadly.py", DEADLY)
    arm = "{deadly: {methods: [native, deadly]}}"
    text = finish(
        tiny, "--plugin", "deadly.py", "--arm", arm, "--seeds", "1", "--jobs", "2", code=1
    )
    assert "deadly: a worker died; restarted in another" in text
    assert "deadly, seed 0: failed: its worker process died 3 times" in text
    states = [
        json.loads(p.read_text())["status"]
        for p in (tiny / "results/records").glob("*.json")
        if "." not in p.stem
    ]
    assert sorted(states) == ["complete", "complete", "failed"]
