"""`cabench export`: a trained network of the cache as a folder for diffusers."""

from __future__ import annotations

from pathlib import Path

from cabench.api.export import export_model
from cabench.api.models import load_model, record_of
from cabench.commands.sample import target_of
from cabench.records.runs import find_run
from cabench.records.store import Store
from cabench.runtime.console import screen


def show_export(text: str, folder: Path, seed: int, results: Path, cache: Path) -> None:
    """Write the folder; print what is in it and how to load it."""
    target, arm = target_of(text, results)
    model = load_model(target.study, arm, seed, results=target.directory, cache=cache)
    run = find_run(target.directory, target.study)
    record = record_of(run, Store(target.directory, cache, run.store.reference), arm, seed)
    export_model(folder, run, record, arm, model)
    console = screen()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    console.print("Written:", *(f"  {path}" for path in files), sep="\n", soft_wrap=True)
    load = f'DiffusionPipeline.from_pretrained("{folder}", trust_remote_code=True)'
    console.print(f"\nLoad it with diffusers: {load}", soft_wrap=True)
