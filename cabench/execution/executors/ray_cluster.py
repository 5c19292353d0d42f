"""Ray itself: starting it on this machine or connecting to a cluster, and its room for trials."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from unittest import mock

import ray
from ray._private import ray_constants
from ray._private import worker as ray_worker

from cabench.errors import CabenchError
from cabench.execution.executors.base import Pool
from cabench.execution.executors.session import Watch, session_root, worker_environment
from cabench.runtime.signals import stop_on_signals

OBJECT_STORE = 100 * 2**20  # bytes; results go through files
STATUS_TIMEOUT = 15  # seconds, for `ray status` of a running cluster
GB = 10**9


@contextmanager
def started(pool: Pool) -> Iterator[int]:
    """Start Ray or connect to it, shut it down at the end; yield the number of workers."""
    quiet = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    try:
        if pool.address is None:
            cpus = {"num_cpus": max(1, pool.jobs or 1) * pool.cpus}
            local = {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
            os.environ |= worker_environment()  # inherited by the workers
            # On 127.0.0.1. Ray has no public way: it turns `_node_ip_address="127.0.0.1"` into the
            # machine's address, and reads the variable behind this name once, for clusters, too
            with mock.patch.object(ray_constants, "ENABLE_RAY_CLUSTER", False):
                ray.init("local", _temp_dir=session_root(), **cpus, **local, **quiet)
        else:
            _check_address(pool.address)
            ray.init(pool.address, runtime_env={"env_vars": worker_environment()}, **quiet)
    except Exception as error:  # Ray raises plain ones, too
        where = f"--ray-address '{pool.address}'" if pool.address else "Ray on this machine"
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CabenchError(f"{where}: can't start: {reason}") from None
    watch = _watch() if pool.address is None else None
    try:
        with stop_on_signals(), watch or nullcontext():
            yield _workers(pool)
    finally:
        if watch is None or not watch.died:
            ray.shutdown()


def _watch() -> Watch:
    """Of the processes that `ray.init` started; Ray has no public name for them."""
    node = ray_worker._global_node
    assert node is not None

    def kill() -> None:
        node.kill_all_processes(check_alive=False, allow_graceful=False)

    return Watch(lambda: bool(node.dead_processes()), kill)


def _check_address(address: str) -> None:
    """Raise CabenchError unless a Ray of this version answers at the address.

    `ray.init` itself would try for minutes, then end the process. Ray's developers recommend a
    `ray status` in a subprocess with a timeout (ray-project/ray, issue 46863).
    """
    where = f"--ray-address '{address}'"
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise CabenchError(f"{where}: can't connect ({error})") from None
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=STATUS_TIMEOUT)
    except subprocess.TimeoutExpired:
        text = f"{where}: not a Ray cluster, or busy: no status within {STATUS_TIMEOUT} s"
        raise CabenchError(text) from None
    if done.returncode:
        if "InvalidAuthToken" in done.stderr:
            raise CabenchError(
                f"{where}: it asks for a token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN unless "
                "the token is in ~/.ray/auth_token"
            )
        output = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
        raise CabenchError(f"{where}: no Ray {ray.__version__} at this address ({output[-1]})")


def _workers(pool: Pool) -> int:
    """The number of trials that fit at once; Tune would block on one that never fits."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = pool.cpus // pool.ranks, pool.gpus / pool.ranks  # of one process
    fit = 0
    for node in nodes:
        processes = int(node.get("CPU", 0) // cpus)
        if gpus:
            processes = min(processes, int(node.get("GPU", 0) / gpus))
        if pool.memory:
            processes = min(processes, int(node.get("memory", 0) // pool.memory))
        fit += processes
    fit //= pool.ranks  # a trial's ranks may be on several nodes
    if not fit and pool.ranks > 1:
        raise CabenchError(
            f"resources: a trial takes {pool.ranks} processes with {cpus} CPUs, {gpus:g} GPUs and "
            f"{pool.memory / GB:.1f} GB each; the nodes have room for fewer"
        )
    if not fit:
        most = max(nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), default={})
        raise CabenchError(
            f"resources: a trial takes {pool.cpus} CPUs, {pool.gpus:g} GPUs and "
            f"{pool.memory / GB:.1f} GB; the largest node has {most.get('CPU', 0):g}, "
            f"{most.get('GPU', 0):g} and {most.get('memory', 0) / GB:.1f} GB"
        )
    return min(fit, pool.jobs or fit)
