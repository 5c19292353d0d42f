"""Ray's own processes: short socket paths, and an end soon after they have died."""

import os
import subprocess
import sys
import time

import pytest

from cabench.errors import CabenchError
from cabench.execution.executors import session
from cabench.execution.executors.session import DIED, LONGEST_ROOT, session_root


def test_a_long_temporary_directory_is_not_used(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    short = tmp_path / "t"
    long = tmp_path / ("x" * LONGEST_ROOT)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    assert session_root() == "/tmp/ray"
    monkeypatch.setattr(session.os, "access", lambda place, _: place != "/tmp")
    with pytest.raises(CabenchError, match=r"TMPDIR: expected .* got .*; set RAY_TMPDIR"):
        session_root()
    if len(str(short / "ray")) <= LONGEST_ROOT:
        monkeypatch.setenv("RAY_TMPDIR", str(short))
        assert session_root() == str(short / "ray")


COMMAND = """
import signal, sys, time
from cabench.commands import entry
from cabench.errors import CabenchError
from cabench.execution.executors import session
from cabench.execution.executors.session import Watch
from cabench.runtime.signals import stop_on_signals

session.WATCH_EVERY, session.END_WITHIN = 0.1, 1
if "hang" in sys.argv:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
dead = []
try:
    with stop_on_signals(), Watch(lambda: bool(dead), lambda: print("killed")):
        dead.append("gcs_server")
        time.sleep(60)
except CabenchError as error:
    entry._stop(str(error))
"""


@pytest.mark.parametrize("how", ["soon", "hang"])
def test_a_command_ends_soon_after_rays_processes_died(how):
    began = time.monotonic()
    call = [sys.executable, "-c", COMMAND, how]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, env=os.environ)
    assert done.returncode == 2 and done.stderr == f"cabench: {DIED}\n"
    assert done.stdout == "killed\n" and time.monotonic() - began < 50
