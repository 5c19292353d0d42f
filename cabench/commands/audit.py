"""`cabench audit`: score corrupted real images with each metric; write a table and a figure."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from cabench import metrics
from cabench.analysis.figures.audit import audit
from cabench.data import load_dataset
from cabench.errors import CabenchError, listed, near
from cabench.metrics.audit import DEFAULTS, LIMIT, PROMPTED, AuditRow, measure
from cabench.metrics.corruptions import described
from cabench.models import model as _model  # noqa: F401  (registers)
from cabench.plugins import load_plugins, read_plugins
from cabench.registry import DATASETS, METRICS
from cabench.runtime.console import screen
from cabench.runtime.files import atomic_path


def check(
    data: str,  # a data set
    n: int | None,  # images in a set; None: a quarter of the report split, at most 1000
    draws: int,  # sets
    metric_names: str | None,  # comma-separated; None: the usual ones
    plugins: Iterable[Path] = (),
) -> tuple[tuple[str, ...], int]:
    """The metrics and the number of images in a set; CabenchError where the arguments are wrong."""
    load_plugins(read_plugins(plugins))
    if data not in DATASETS:
        raise CabenchError(
            f"unknown data set '{data}'{near(data, DATASETS.names())}; "
            f"known: {listed(DATASETS.names())}"
        )
    chosen = parse_metrics(metric_names, data)
    if draws < 3:
        raise CabenchError(f"--sets: expected at least 3, for a standard deviation, got {draws}")
    least = max(METRICS.get(name).min_samples for name in chosen)
    return chosen, n or min(1000, max(least, len(load_dataset(data).split("report")) // 4))


def show_audit(
    data: str, n: int, draws: int, chosen: tuple[str, ...], cache: Path, out: Path
) -> int:
    """Print the matrix of metrics and corruptions; write it as CSV, Markdown and figure to `out`.

    The arguments are as in `check`.
    """
    dataset = load_dataset(data)
    console = screen()
    began = time.perf_counter()
    rows = measure(
        dataset, n, draws, cache, chosen, lambda text: console.print(text, soft_wrap=True)
    )
    csv, md = (out / f"audit.{data}.{end}" for end in ("csv", "md"))
    frame = pd.DataFrame([asdict(row) for row in rows])
    with atomic_path(csv) as part:
        frame.to_csv(part, index=False)
    command = f"cabench audit {data} --n {n} --sets {draws}"
    if chosen != parse_metrics(None, data):
        command += f" --metrics {','.join(chosen)}"
    text = markdown(rows, command)
    with atomic_path(md) as part:
        part.write_text(text, encoding="utf-8")
    figures = audit(out / f"audit.{data}", frame)
    console.print(text.split("\n## ")[0], soft_wrap=True)
    console.print(f"measured in {time.perf_counter() - began:.0f} s", soft_wrap=True)
    paths = [csv, md, *figures]
    console.print("Written:", *(f"  {path}" for path in paths), sep="\n", soft_wrap=True)
    return 0


def parse_metrics(names: str | None, data: str) -> tuple[str, ...]:
    """'kid,memorised' -> the metrics; None: the usual ones for a data set."""
    if names is None:
        return (*DEFAULTS, *PROMPTED) if data == "emoji" else DEFAULTS
    known = metrics.needing("samples", metrics.names())
    chosen = tuple(names.split(","))
    for name in chosen:
        if name not in known:
            raise CabenchError(
                f"--metrics: unknown metric '{name}'{near(name, known)}; known: {listed(known)}"
            )
    if "clip_score" in chosen:
        raise CabenchError("--metrics: clip_score needs a CLIP, which this command does not take")
    return chosen


def markdown(rows: list[AuditRow], command: str) -> str:
    """The matrix, the cells that are not as expected, and what each corruption does."""
    corruptions = list(dict.fromkeys(row.corruption for row in rows))
    by_label: dict[str, list[AuditRow]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    table = [
        "| metric | intact | " + " | ".join(corruptions) + " |",
        "|---|---:|" + "---:|" * len(corruptions),
    ]
    for label, cells in by_label.items():
        shifts = " | ".join(f"{c.shift:+.1f}{'' if c.agrees else ' (!)'}" for c in cells)
        table.append(f"| {label} | {cells[0].intact:.4g} | {shifts} |")
    unexpected = [
        f"- {row.label}, {row.corruption}: expected {row.expected}, got {row.effect} "
        f"({row.intact:.4g} to {row.corrupted:.4g})"
        for row in rows
        if not row.agrees
    ]
    sections = [
        f"# Audit of the metrics on {rows[0].data}",
        f"`{command}`: {rows[0].sets} sets of n = {rows[0].n:,} real images from one half of the "
        "report split, compared with the other half. Each cell is the shift of the mean score in "
        "standard deviations of the intact sets' scores; + is worse; within "
        f"{LIMIT:g} counts as flat. (!): not as expected.",
        "\n".join(table),
        "Not as expected:\n\n" + "\n".join(unexpected or ["- none"]),
        "## Corruptions\n\n" + "\n".join(f"- {name}: {described()[name]}" for name in corruptions),
    ]
    return "\n\n".join(sections) + "\n"
