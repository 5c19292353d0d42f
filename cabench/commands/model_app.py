"""Options of the commands on trained networks: `cabench sample` and `cabench export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cabench.commands import completion, options
from cabench.commands.options import CACHE, RESULTS

Arm = Annotated[
    str,
    typer.Argument(
        metavar="STUDY:ARM",
        help="[DIRECTORY/]STUDY[.SCALE]:ARM of a trained arm",
        autocompletion=completion.targets,
    ),
]


def sample(
    arm: Arm,
    labels: Annotated[
        str | None, typer.Option(help="Comma-separated classes: names or numbers; default: all")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, max=1000, help="Images of each class")] = 4,
    seeds: Annotated[str, typer.Option(help="Comma-separated seeds of trained networks")] = "0",
    guidance: Annotated[
        str | None, typer.Option(help="Comma-separated guidance scales; default: the trial's")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of the sampler; default: the trial's")
    ] = None,
    noise: Annotated[
        int | None, typer.Option(min=0, help="Seed of the noise; default: the trial's seed")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            callback=options.output_file, metavar="FILE", help="PNG; default: STUDY.ARM.png"
        ),
    ] = None,
    npz: Annotated[
        Path | None,
        typer.Option(callback=options.output_file, metavar="FILE", help="Also write the arrays"),
    ] = None,
    plugin: options.Plugins = None,
    results: options.Results = RESULTS,
    cache: options.Cache = CACHE,
) -> None:
    """Sample a trained network of the cache: a PNG grid, a column per class."""
    from cabench.commands.sample import show_samples

    show_samples(
        arm, labels, n, seeds, guidance, steps, noise, results, cache, plugin or [], output, npz
    )


def export(
    arm: Arm,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty directory")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the trained network")] = 0,
    plugin: options.Plugins = None,
    results: options.Results = RESULTS,
    cache: options.Cache = CACHE,
) -> None:
    """Write a trained network for diffusers: safetensors, config, model card, pipeline."""
    from cabench.commands.export import show_export

    show_export(arm, folder, seed, plugin or [], results, cache)
