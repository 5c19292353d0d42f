"""The verbs `data list`, `data check` and `data encode`. Heavy imports wait inside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Data sets: what is here, is it whole, as latents.")

Source = Annotated[str, typer.Argument(help="A data source, as in `cabench data list`")]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", help="Of the source, as KEY=VALUE: -o path=DIR -o flip=true"),
]
Plugins = Annotated[
    list[Path] | None, typer.Option(help="A Python file that registers a data source")
]


@app.command("list")
def list_(plugin: Plugins = None) -> None:
    """Every source: what it needs, whether it is here, its size, streams and licence."""
    from cabench.commands.data_actions import show_sources

    show_sources(plugin or [])


@app.command()
def check(source: Source, option: Options = None, plugin: Plugins = None) -> None:
    """Read every picture of a source; list all that are damaged (exit code 1)."""
    from cabench.commands.data_actions import show_check

    raise typer.Exit(show_check(source, option or [], plugin or []))


@app.command()
def encode(
    source: Source,
    vae: Annotated[
        str, typer.Option(help="An AutoencoderKL: its folder, or a name on diffusers' hub")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the latents; the same command goes on")],
    size: Annotated[int, typer.Option(min=8, max=4096, help="Pixels a side")] = 256,
    option: Options = None,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Pictures encoded at once")] = 32,
    shard: Annotated[
        int, typer.Option(min=16, help="Pictures a file: what a stopped run loses at most")
    ] = 8192,
    scale: Annotated[
        float | None, typer.Option(help="Factor of the latents; default: the VAE's own")
    ] = None,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave out pictures that don't read")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    plugin: Plugins = None,
) -> None:
    """Encode a source's pictures with a VAE, once; train on them as source `latents`."""
    from cabench.commands.data_actions import run_encode

    try:
        code = run_encode(
            source,
            option or [],
            vae,
            out,
            size,
            batch,
            shard,
            scale,
            skip_damaged,
            device,
            plugin or [],
        )
    except KeyboardInterrupt:
        typer.echo("cabench: stopped; finished shards are kept, the same command goes on", err=True)
        code = 130
    raise typer.Exit(code)
