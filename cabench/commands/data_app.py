"""Command line of `cabench data`: list, check, encode. Heavy imports happen inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cabench.commands.options import DataOptions, ScaleName, output_file
from cabench.runtime.signals import exit_code

app = typer.Typer(no_args_is_help=True, help="List data sets, check images, encode latents.")

Source = Annotated[str, typer.Argument(help="A data set listed by `cabench data list`")]
Plugins = Annotated[
    list[Path] | None, typer.Option(help="Python file that registers a data set of your own")
]


@app.command("list")
def list_(plugin: Plugins = None) -> None:
    """List all data sets: options, whether they are installed, size, streams, licence."""
    from cabench.commands.data import list_sources

    list_sources(plugin or [])


@app.command()
def check(
    source: Source,
    option: DataOptions = None,
    write_scale: Annotated[
        Path | None,
        typer.Option(callback=output_file, help="Also write --scale for this data, as YAML"),
    ] = None,
    scale: ScaleName = "quick",
    plugin: Plugins = None,
) -> None:
    """Read every image of a data set; list unreadable ones, absent classes, what metrics allow.

    The exit code is 1 if an image is unreadable.
    """
    from cabench.commands.data import check_source

    raise typer.Exit(check_source(source, option or [], plugin or [], scale, write_scale))


@app.command()
def encode(
    source: Source,
    vae: Annotated[
        str, typer.Option(help="AutoencoderKL: a folder in diffusers' format, or a hub name")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the latents; re-run the command to resume")],
    size: Annotated[int, typer.Option(min=8, max=4096, help="Image size, pixels per side")] = 256,
    option: DataOptions = None,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Images encoded at once")] = 32,
    shard: Annotated[
        int, typer.Option(min=16, help="Images per file; an interrupted run repeats at most one")
    ] = 8192,
    scale: Annotated[
        float | None, typer.Option(help="Factor applied to latents; default: the VAE's own")
    ] = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    plugin: Plugins = None,
) -> None:
    """Encode a data set's images once with a VAE; train on the result as data set `latents`."""
    from cabench.commands.data import encode_source

    try:
        code = encode_source(
            source,
            option or [],
            plugin or [],
            vae_path=vae,
            out=out,
            size=size,
            batch=batch,
            shard=shard,
            scale=scale,
            skip_unreadable=skip_unreadable,
            device=device,
        )
    except KeyboardInterrupt:
        typer.echo(
            "cabench: stopped; finished files are kept; re-run the command to resume", err=True
        )
        code = exit_code()
    raise typer.Exit(code)
