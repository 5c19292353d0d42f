"""What `cabench data` does: sources listed, checked, encoded."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cabench.config.yaml import parse_yaml
from cabench.data import Dataset, load_dataset, open_catalogue, options_model
from cabench.data.catalogue import Catalogue
from cabench.errors import CabenchError, DataMissing, shown
from cabench.execution.progress import clock
from cabench.plugins import load_plugins, read_plugins
from cabench.registry import DATASETS
from cabench.runtime.console import screen

EVERY = 15  # seconds between two lines where there is no terminal


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """['size=64', 'flip=true'] -> {size: 64, flip: True}, read as YAML."""
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CabenchError(f"--option: found {shown(text)}; write KEY=VALUE, as in path=DIR")
        if key in options:
            raise CabenchError(f"--option: '{key}' is given twice")
        options[key] = parse_yaml(f"value: {value}", Path("--option"), "an option")["value"]
    return options


# -- list


def show_sources(plugins: Sequence[Path]) -> None:
    """A row for each source as it is, and for each entry of a scale that names options."""
    from cabench.commands.list import first_line
    from cabench.config.study import read_scale, scale_names

    load_plugins(read_plugins(plugins))
    asked = {name: [("", {})] for name in DATASETS.names()}
    for scale in scale_names():
        for choice in read_scale(scale).data:
            if choice.options:
                asked[choice.source].append((f"as scale {scale} has it", choice.options))
    console = screen()
    for name, ways in asked.items():
        console.print(name, style="bold", end=": ")
        about = f"{first_line(DATASETS.get(name))} Options: {options_line(name)}"
        console.print(about, soft_wrap=True)
        for where, options in ways:
            found = state(name, options)
            if found:
                told = f"{where} ({written(options)}): " if where else ""
                console.print(f"  {told}{found}", soft_wrap=True)


def options_line(name: str) -> str:
    """'path (needed), size=256': a source's options with their defaults."""
    fields = options_model(name).model_fields.items()
    told = [f"{k} (needed)" if f.is_required() else f"{k}={shown(f.default)}" for k, f in fields]
    return ", ".join(told) or "none"


def written(options: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in options.items())


def state(name: str, options: dict[str, Any]) -> str:
    """'here: ...' or 'not here: ...'; '' where options are needed that nobody named."""
    arguments = inspect.signature(DATASETS.get(name)).parameters.values()
    if any(a.default is a.empty and a.name not in options for a in arguments):
        return ""
    options = {k: v for k, v in options.items() if k != "download"}  # a list downloads nothing
    try:
        return f"here: {describe(load_dataset(name, **options))}"
    except DataMissing as error:
        return f"not here: {error}"


def describe(dataset: Dataset) -> str:
    """Size, splits, streams and licence in one line."""
    size = "x".join(map(str, dataset.shape))
    if dataset.inputs != dataset.shape:
        size += f" as latents of {'x'.join(map(str, dataset.inputs))}"
    splits = ", ".join(f"{name} {len(part):,}" for name, part in dataset.splits.items())
    streams = [f"{name} ({len(names):,})" for name, names in dataset.classes.items()]
    texts = [f"{name} (text)" for name in dataset.split("report").texts]
    told = ", ".join(streams + texts)
    return f"{size}; {splits}; streams: {told}; licence: {dataset.licence}"


# -- check


def show_check(source: str, options: Sequence[str], plugins: Sequence[Path]) -> int:
    """Counts, classes, damage, fingerprint; 1 when anything is damaged."""
    from cabench.data.catalogue import check
    from cabench.data.sources.latents import damaged_files

    load_plugins(read_plugins(plugins))
    chosen, console = parse_options(options), screen()
    if source == "latents":
        dataset = load_dataset(source, **chosen)
        console.print(f"latents: {describe(dataset)}", soft_wrap=True)
        damaged, mark = damaged_files(Path(chosen["path"])), dataset.fingerprint
    else:
        catalogue = open_catalogue(source, **chosen)
        show_catalogue(catalogue, console)
        total = sum(map(len, catalogue.splits.values()))
        with Ticker(console) as ticker:
            found = check(catalogue, lambda count: ticker.tick("check", count, total))
        console.print(f"read {total:,} pictures in {ticker.line(total)}", soft_wrap=True)
        damaged, mark = found.lines, found.fingerprint
    for line in damaged:
        console.print(line, soft_wrap=True)
    if damaged:
        console.print(f"{len(damaged):,} damaged")
        return 1
    console.print(f"none damaged; fingerprint {mark}", soft_wrap=True)
    return 0


def show_catalogue(catalogue: Catalogue, console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("split", "pictures", "streams", "texts"):
        table.add_column(title, justify="right" if title == "pictures" else "left")
    for name, part in catalogue.splits.items():
        used = [
            f"{stream}: {len(set(values.tolist())):,} of {len(catalogue.classes[stream]):,} classes"
            for stream, values in part.streams.items()
        ]
        table.add_row(name, f"{len(part):,}", ", ".join(used), ", ".join(part.texts))
    size = "x".join(map(str, catalogue.shape))
    console.print(f"{catalogue.name}, {size}; licence: {catalogue.licence}", soft_wrap=True)
    console.print(table)


# -- encode


def run_encode(
    source: str,
    options: Sequence[str],
    vae: str,
    out: Path,
    size: int,
    batch: int,
    shard: int,
    scale: float | None,
    skip_damaged: bool,
    device: str,
    plugins: Sequence[Path],
) -> int:
    """Encodes what is missing; 1 when pictures are damaged and were not to be skipped."""
    from cabench.data.encode import Damaged, encode
    from cabench.data.vae import VAE
    from cabench.runtime.devices import pick_device
    from cabench.runtime.threads import one_thread

    load_plugins(read_plugins(plugins))
    chosen, console = parse_options(options), screen()
    if source == "latents":
        raise CabenchError("data encode: 'latents' are encoded already; name their source")
    if "size" in chosen:
        raise CabenchError("--option: size is --size here")
    if "size" in inspect.signature(DATASETS.get(source)).parameters:
        chosen["size"] = size
    place = pick_device(device)
    catalogue = open_catalogue(source, **chosen)
    network = VAE(vae, place, scale=scale)
    show_catalogue(catalogue, console)
    console.print(
        f"VAE {vae}, sha256 {network.sha256[:12]}: latents of {network.channels}x"
        f"{size // network.factor}x{size // network.factor}, scale {network.scale:g}, on {place}",
        soft_wrap=True,
    )
    try:
        with one_thread() if place == "cpu" else nullcontext(), Ticker(console) as ticker:
            done = encode(catalogue, network, out, size, batch, skip_damaged, shard, ticker.tick)
    except Damaged as error:
        for line in error.lines:
            console.print(line, soft_wrap=True)
        console.print(str(error), soft_wrap=True)
        return 1
    for line in done.damaged:
        console.print(f"skipped: {line}", soft_wrap=True)
    pace = f", {done.pictures / done.seconds:,.1f} pictures/s" if done.pictures else ""
    flips = " (each twice, for the mirrored one)" if catalogue.flip else ""
    console.print(
        f"{out}: {done.pictures:,} pictures encoded in {clock(done.seconds)}{pace}{flips}; "
        f"{done.kept:,} were there already; {len(done.damaged):,} skipped; "
        f"fingerprint {done.facts['fingerprint']}",
        soft_wrap=True,
    )
    console.print(
        f"in a scale: data: [{{streams: [label], source: latents, options: {{path: {out}}}}}]",
        soft_wrap=True,
    )
    return 0


class Ticker:
    """How far a long work is, and the time left: a bar on a terminal, else a line now and then."""

    def __init__(self, console: Console):
        self.console = console
        self.began = self.said = time.monotonic()
        self.stage, self.first = "", 0
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[pace]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.task: Any = None

    def __enter__(self) -> Ticker:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def tick(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage != self.stage:  # what was there already tells nothing of the pace
            self.stage, self.first, self.began, self.said = stage, done, now, now
            if self.console.is_terminal:
                self.task = self.bar.add_task(stage, total=total, completed=done, pace="")
        spent = now - self.began
        pace = (done - self.first) / spent if spent > 0 else 0.0
        told = f"{done:,} of {total:,} pictures, {pace:,.0f}/s"
        if self.console.is_terminal:
            self.bar.update(self.task, completed=done, pace=told)
        elif now - self.said > EVERY and pace > 0:
            self.said = now
            left = clock((total - done) / pace)
            self.console.print(f"{stage}: {told}, {left} left", soft_wrap=True)

    def line(self, count: int) -> str:
        spent = time.monotonic() - self.began
        return f"{clock(spent)} ({count / max(spent, 1e-9):,.0f}/s)"
