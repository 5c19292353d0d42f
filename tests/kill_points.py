"""Runs a cabench command in child processes that are killed at a write, until one of them finishes.

Called as `python kill_points.py EVERY ARGUMENTS`. Child i (from 0) ends like by `kill -9` at its
(1 + i * EVERY)-th file rename, the moment at which a file becomes complete: in turn before it (the
file is lost) and just after. Prints how many children were killed.
"""

from __future__ import annotations

import os
import sys

KILLED = 99  # exit code


def main() -> None:
    every, words = int(sys.argv[1]), sys.argv[2:]
    # imported once, before the first fork; none of them starts a thread
    import onnxruntime  # noqa: F401
    import torch

    from cabench.commands import app, dry_run, entry  # noqa: F401
    from cabench.execution import run, trial  # noqa: F401

    torch.set_num_threads(1)
    kills = 0
    while True:
        child = os.fork()
        if child == 0:
            die_at(1 + kills * every, before=kills % 2 == 0)
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            sys.argv = ["cabench", *words]
            code = 1  # of an exception; it must not end in this fork's exit handlers
            try:
                entry.main()
                code = 0
            except SystemExit as stop:
                code = stop.code or 0
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != KILLED:
            print(kills)
            sys.exit(code)
        kills += 1


def die_at(number: int, before: bool) -> None:
    """Ends this process at its rename with this number, before the rename or after it."""
    rename, count = os.replace, 0

    def replace(*paths: object, **options: object) -> None:
        nonlocal count
        count += 1
        if count == number and before:
            os._exit(KILLED)
        rename(*paths, **options)
        if count == number:
            os._exit(KILLED)

    os.replace = replace


if __name__ == "__main__":
    main()
