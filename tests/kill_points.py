"""Runs a command of cabench in children that die at a write, again and again until one ends.

Called as `python kill_points.py EVERY ARGUMENTS`. Child i (from 0) dies as by kill -9 at its
(1 + i * EVERY)-th file rename, the point at which something becomes finished: before it (what was
written is lost) or just after, in turn. Prints how often a child was killed.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    every, words = int(sys.argv[1]), sys.argv[2:]
    import onnxruntime  # noqa: F401  (imported once; nothing has started a thread yet)
    import torch

    from cabench.commands import app as cli  # noqa: F401
    from cabench.commands import dry_run as dryrun  # noqa: F401
    from cabench.execution import (
        run,  # noqa: F401
        trial,  # noqa: F401
    )

    torch.set_num_threads(1)
    kills = 0
    while True:
        child = os.fork()
        if child == 0:
            die_at(1 + kills * every, before=kills % 2 == 0)
            sys.stdout = sys.stderr = open(os.devnull, "w")
            sys.argv = ["cabench", *words]
            try:
                cli.main()
                code = 0
            except SystemExit as stop:
                code = stop.code or 0
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != 99:
            print(kills)
            sys.exit(code)
        kills += 1


def die_at(place: int, before: bool) -> None:
    real, seen = os.replace, 0

    def replace(*paths: object, **more: object) -> None:
        nonlocal seen
        seen += 1
        if seen == place and before:
            os._exit(99)
        real(*paths, **more)
        if seen == place:
            os._exit(99)

    os.replace = replace


if __name__ == "__main__":
    main()
