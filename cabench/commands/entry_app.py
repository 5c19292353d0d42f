"""Options of the commands on leaderboard entries: `cabench entry` and `cabench verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cabench.commands import options
from cabench.commands.model_app import Arm
from cabench.commands.options import RESULTS


def entry(
    arm: Arm,
    folder: Annotated[
        Path, typer.Argument(callback=options.directory, help="A new or empty directory")
    ],
    by: Annotated[str, typer.Option(help="Who ran it, as the entry gives it")] = "",
    url: Annotated[str, typer.Option(help="A page on the method or the run")] = "",
    results: options.Results = RESULTS,
) -> None:
    """Write an arm's results beside its baseline's to a folder that others can verify."""
    from cabench.commands.leaderboard_entry import show_entry

    show_entry(arm, results, folder, by, url)


def verify(
    folder: Annotated[Path, typer.Argument(help="A folder of `cabench entry`")],
    repeat: Annotated[
        int, typer.Option(min=0, help="Trials to repeat, chosen at random; 0: check files alone")
    ] = 2,
    plugin: options.Plugins = None,
    device: options.Device = "auto",
) -> None:
    """Check an entry: intact records, keys, scores, and trials repeated to the bit."""
    from cabench.commands.verify import show_checks
    from cabench.runtime.devices import pick_device

    raise typer.Exit(show_checks(folder, repeat, plugin or (), pick_device(device)))
