"""The commands `data list`, `data check` and `data encode`."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from cabench.config.scale import Scale
from cabench.config.study import read_scale, scale_names
from cabench.data import Dataset, load_dataset, open_catalogue, options_model
from cabench.data.catalogue import Catalogue, check, upscaled, without_pixels
from cabench.data.class_sizes import absent_classes
from cabench.data.reading import checked, parse_options
from cabench.errors import CabenchError, DataMissing, plural, shown
from cabench.plugins import load_plugins, read_plugins
from cabench.registry import DATASETS
from cabench.runtime.console import clock, screen
from cabench.runtime.files import atomic_path

EVERY = 15  # seconds between progress lines where there is no terminal


# -- list


def list_sources(plugins: Sequence[Path]) -> None:
    """Print each data set: by itself, then with the options that scales give it."""
    from cabench.commands.list import first_line

    load_plugins(read_plugins(plugins))
    console = screen()
    for name in DATASETS.names():
        console.print(name, style="bold", end=": ")
        console.print(first_line(DATASETS.get(name)), soft_wrap=True)
        default = status_lines(name, {})
        lines = [f"options: {options_line(name)}", *default]
        for options, scales in scale_options(name):
            plural = "s" if len(scales) > 1 else ""
            given = ", ".join(f"{key}={value}" for key, value in options.items())
            lines.append(f"with {given} (scale{plural} {', '.join(scales)}):")
            status = status_lines(name, options)
            lines += [f"  {line}" for line in (status[:1] if default else status)]
        for line in lines:
            console.print(f"  {line}", soft_wrap=True)


def options_line(name: str) -> str:
    """'path (required), size=256': a data set's options with their defaults."""
    options = [
        f"{key} (required)" if field.is_required() else f"{key}={shown(field.default)}"
        for key, field in options_model(name).model_fields.items()
    ]
    return ", ".join(options) or "none"


def scale_options(name: str) -> list[tuple[dict[str, Any], list[str]]]:
    """The options that scales give a data set, and the scales that do."""
    uses: list[tuple[dict[str, Any], list[str]]] = []
    for scale in scale_names():
        for choice in read_scale(scale).scale.data:
            options = {key: v for key, v in choice.options.items() if key != "download"}
            if choice.source != name or not options:
                continue
            for known, scales in uses:
                if known == options:
                    scales.append(scale)
                    break
            else:
                uses.append((options, [scale]))
    return uses


def status_lines(name: str, options: dict[str, Any]) -> list[str]:
    """Size, streams and licence of a data set; why it cannot be loaded; [] if options are missing.

    Downloads nothing.
    """
    fields = options_model(name).model_fields.items()
    if any(field.is_required() and key not in options for key, field in fields):
        return []
    try:
        first, *rest = describe(load_dataset(name, **options))
    except DataMissing as error:
        return [f"not installed: {str(error).removeprefix(f'{name}: ')}"]
    return [f"installed: {first}", *rest]


def describe(dataset: Dataset) -> list[str]:
    """Size and splits, streams and texts, licence; a line each."""
    size = "x".join(map(str, dataset.shape))
    if dataset.inputs != dataset.shape:
        size += f" as latents of {'x'.join(map(str, dataset.inputs))}"
    splits = ", ".join(f"{name} {len(split):,}" for name, split in dataset.splits.items())
    streams = [f"{name} ({len(names):,} classes)" for name, names in dataset.classes.items()]
    texts = [f"{name} (text)" for name in dataset.split("report").texts]
    streams += [f"{name} ({plural(count, 'number')})" for name, count in dataset.vectors.items()]
    streams += [f"{name} (map, {'x'.join(map(str, s))})" for name, s in dataset.maps.items()]
    return [
        f"{size}; {splits}",
        f"streams: {', '.join(streams + texts)}",
        f"licence: {dataset.licence}",
    ]


# -- check


def check_source(
    source: str,
    options: Sequence[str],
    plugins: Sequence[Path],
    scale: str = "quick",
    write_scale: Path | None = None,
) -> int:
    """Print counts, classes, unreadable images and what metrics allow; return the exit code.

    `write_scale` is a file for the scale, on this data.
    """
    if write_scale is not None and write_scale.suffix not in (".yaml", ".yml"):
        raise CabenchError(f"--write-scale: expected a YAML file, got {shown(str(write_scale))}")
    load_plugins(read_plugins(plugins))
    parsed, console, base = parse_options(source, options), screen(), read_scale(scale)
    check_files = _check_latents if source == "latents" else _check_images
    dataset, errors = check_files(source, parsed, console)
    for line in [
        *absent_classes(dataset, dataset.classes),
        *capacity_lines(source, parsed, dataset),
    ]:
        console.print(line, soft_wrap=True)
    if write_scale is not None:
        console.print(_write_scale(source, parsed, base.scale, write_scale, errors), soft_wrap=True)
    return 1 if errors else 0


def _check_latents(
    source: str, options: dict[str, Any], console: Console
) -> tuple[Dataset, list[str]]:
    """The latents, and no lines; where files are corrupted, prints them and ends the command."""
    from cabench.data.sources.latents import corrupted_files

    if errors := corrupted_files(Path(checked(source, options)["path"])):
        _print_errors(errors, "corrupted files", None, console)
        raise typer.Exit(1)
    dataset = load_dataset(source, **options)
    for line in describe(dataset):
        console.print(line, soft_wrap=True)
    _print_errors([], "corrupted files", dataset.fingerprint, console)
    return dataset, []


def _check_images(
    source: str, options: dict[str, Any], console: Console
) -> tuple[Dataset, list[str]]:
    """The data set without its pixels, and a line for each unreadable image; prints them."""
    catalogue = open_catalogue(source, **options)
    print_catalogue(catalogue, console)
    total = sum(map(len, catalogue.splits.values()))
    with ProgressLine(console) as progress:
        result = check(catalogue, lambda count: progress.update("check", count, total))
    console.print(f"read {total:,} images in {progress.summary(total)}", soft_wrap=True)
    if (line := upscaled(catalogue)) is not None:
        console.print(line, soft_wrap=True)
    _print_errors(result.lines, "unreadable images", result.fingerprint, console)
    return without_pixels(catalogue), result.lines


def _print_errors(
    errors: Sequence[str], what: str, fingerprint: str | None, console: Console
) -> None:
    """Print each error and their number, or the fingerprint."""
    for line in errors:
        console.print(line, soft_wrap=True)
    end = f"{what}: {len(errors):,}" if errors else f"no {what}; fingerprint {fingerprint}"
    console.print(end, soft_wrap=True)


def capacity_lines(source: str, options: dict[str, Any], dataset: Dataset) -> list[str]:
    """The largest number of samples that each metric allows, and how to get more."""
    from cabench.metrics.capacity import capacity, roomier
    from cabench.metrics.fidelity import KID_MIN

    most = capacity(dataset)
    lines = [f"samples (sampling.n): at most {most.n:,}: {most.limit}"]
    lines += [f"  {what}: {', '.join(names)}" for what, names in metric_limits(dataset, most.n)]
    lines.append(f"held-out loss (heldout.images): at most {len(dataset.split('report')):,}")
    if most.n < KID_MIN and (more := roomier(source, options)) is not None:
        other = capacity(without_pixels(open_catalogue(source, **more)))
        (option,) = more.keys() - options.keys()
        if other.n > most.n:
            lines.append(f"with -o {option}={more[option]}, at most {other.n:,}: {other.limit}")
    return lines


def metric_limits(dataset: Dataset, n: int) -> list[tuple[str, list[str]]]:
    """('at most 200', metrics), ('not measured: needs 224 samples', metrics), ..."""
    from cabench import metrics
    from cabench.metrics.capacity import shortfall
    from cabench.registry import METRICS

    groups: dict[str, list[str]] = {}
    names = metrics.needing("samples", metrics.names())
    for name in sorted(names, key=lambda name: METRICS.get(name).min_samples):
        reason = shortfall(name, dataset, n)
        groups.setdefault(f"not measured: {reason}" if reason else f"at most {n:,}", []).append(
            name
        )
    return sorted(groups.items(), key=lambda group: group[0].startswith("not"))


def _write_scale(
    source: str, options: dict[str, Any], scale: Scale, path: Path, errors: Sequence[str]
) -> str:
    """Write the scale on this data, unless it has errors; what was done, in one line."""
    from cabench.planning.own_data import scale_text

    if errors:
        return f"{path} is not written: the data has errors"
    text = scale_text(scale, source, options, path.stem)
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")
    return f"wrote {path}: cabench run STUDY --scale {path}"


def print_catalogue(catalogue: Catalogue, console: Console) -> None:
    """Print the images, classes and texts of each split as a table."""
    size = "x".join(map(str, catalogue.shape))
    console.print(f"{catalogue.name}, {size}; licence: {catalogue.licence}", soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("split", "images", "streams", "texts"):
        table.add_column(title, justify="right" if title == "images" else "left")
    for name, members in catalogue.splits.items():
        streams = [
            f"{stream}: {len(set(values.tolist())):,} of {len(catalogue.classes[stream]):,} classes"
            for stream, values in members.streams.items()
        ]
        streams += [
            f"{stream}: {plural(v.shape[1], 'number')}" for stream, v in members.vectors.items()
        ]
        streams += [f"{stream}: maps" for stream in catalogue.maps]
        table.add_row(name, f"{len(members):,}", ", ".join(streams), ", ".join(members.texts))
    console.print(table)
    for line in catalogue.notes:
        console.print(line, soft_wrap=True)


# -- encode


def encode_source(
    source: str,
    options: Sequence[str],
    plugins: Sequence[Path],
    *,
    vae_path: str,
    out: Path,
    size: int,
    batch: int,
    shard: int,
    scale: float | None,
    skip_unreadable: bool,
    device: str,
) -> int:
    """Encode the images that are not encoded yet; return the exit code."""
    from cabench.data.encode import Job, UnreadableImages, encode
    from cabench.data.vae import VAE
    from cabench.runtime.devices import pick_device
    from cabench.runtime.threads import one_thread

    load_plugins(read_plugins(plugins))
    device, console = pick_device(device), screen()
    catalogue = _catalogue(source, parse_options(source, options), size)
    vae = VAE(vae_path, device, scale=scale)
    print_catalogue(catalogue, console)
    side = size // vae.factor
    console.print(
        f"VAE {vae_path}, sha256 {vae.sha256[:12]}: latents of {vae.channels}x{side}x{side}, "
        f"scale {vae.scale:g}, on {device}",
        soft_wrap=True,
    )
    job = Job(catalogue, vae, out, size, batch=batch, rows=shard)
    try:
        with one_thread() if device == "cpu" else nullcontext(), ProgressLine(console) as progress:
            result = encode(job, skip_unreadable, progress.update)
    except UnreadableImages as error:
        for line in error.lines:
            console.print(line, soft_wrap=True)
        console.print(str(error), soft_wrap=True)
        return 1
    for line in result.skipped:
        console.print(f"skipped: {line}", soft_wrap=True)
    pace = f", {result.images / result.seconds:,.1f} images/s" if result.images else ""
    mirrored = " (also mirrored, in generator-train)" if catalogue.flip else ""
    console.print(
        f"{out}: encoded {result.images:,} images in {clock(result.seconds)}{pace}{mirrored}; "
        f"{result.reused:,} were encoded before, {len(result.skipped):,} skipped; "
        f"fingerprint {result.facts['fingerprint']}",
        soft_wrap=True,
    )
    console.print(
        f"use in a scale: data: [{{streams: [label], source: latents, options: {{path: {out}}}}}]",
        soft_wrap=True,
    )
    return 0


def _catalogue(source: str, options: dict[str, Any], size: int) -> Catalogue:
    """The catalogue to encode, at `size` pixels if the data set has that option."""
    if source == "latents":
        raise CabenchError("data encode: 'latents' are already encoded; name their data set")
    if "size" in options:
        raise CabenchError("--option: use --size instead of -o size=...")
    if "size" in inspect.signature(DATASETS.get(source)).parameters:
        options = {**options, "size": size}
    return open_catalogue(source, **options)


class ProgressLine:
    """Images done and time left of a long task: a bar in a terminal, else a line now and then."""

    def __init__(self, console: Console):
        self.console = console
        self.began = self.printed = time.monotonic()
        self.stage, self.first = "", 0
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[pace]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.task = TaskID(0)

    def __enter__(self) -> ProgressLine:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def update(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` images of a stage; a new stage restarts the clock."""
        now = time.monotonic()
        if stage != self.stage:  # images done by an earlier run do not count for the pace
            self.stage, self.first, self.began, self.printed = stage, done, now, now
            if self.console.is_terminal:
                self.task = self.bar.add_task(stage, total=total, completed=done, pace="")
        elapsed = now - self.began
        pace = (done - self.first) / elapsed if elapsed > 0 else 0.0
        text = f"{done:,} of {total:,} images, {pace:,.0f}/s"
        if self.console.is_terminal:
            self.bar.update(self.task, completed=done, pace=text)
        elif now - self.printed > EVERY and pace > 0:
            self.printed = now
            left = clock((total - done) / pace)
            self.console.print(f"{stage}: {text}, {left} left", soft_wrap=True)

    def summary(self, count: int) -> str:
        """'1:05 (512/s)', for `count` images."""
        elapsed = time.monotonic() - self.began
        return f"{clock(elapsed)} ({count / max(elapsed, 1e-9):,.0f}/s)"
