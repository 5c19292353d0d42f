"""`cabench export`: a trained network of the cache as a folder for diffusers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cabench.api.export import export_model
from cabench.commands.compare import target_of
from cabench.records.runs import find_run
from cabench.runtime.console import screen


def show_export(
    text: str, folder: Path, seed: int, plugins: Sequence[Path], results: Path, cache: Path
) -> None:
    """Write the folder; print what is in it and how to load it."""
    target, arm = target_of(text, results)
    run = find_run(target.directory, target.study, or_reference=True)
    export_model(folder, run, arm, seed, cache, plugins)
    console = screen()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    console.print("Written:", *(f"  {path}" for path in files), sep="\n", soft_wrap=True)
    load = f'DiffusionPipeline.from_pretrained("{folder}", trust_remote_code=True)'
    console.print(f"\nLoad it with diffusers: {load}", soft_wrap=True)
