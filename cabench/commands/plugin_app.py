"""Command line of `cabench plugin`. Heavy imports happen inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cabench.commands import options
from cabench.runtime.cache import CACHE

app = typer.Typer(no_args_is_help=True, help="Check plugins.")


@app.callback()
def _root() -> None:
    """Keeps `check` a command of its own."""


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="Python file that registers parts")],
    cache: options.Cache = CACHE,
) -> None:
    """Run each part that a plugin registers on small networks and data; train nothing."""
    from cabench.commands.plugin_check import check_plugin

    raise typer.Exit(check_plugin(file, cache))
