"""The command `audit`: scores corrupted real images with each metric; table and figure."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd

from cabench import metrics
from cabench.analysis.figures.audit import audit
from cabench.data import load_dataset
from cabench.errors import CabenchError, listed, near
from cabench.metrics.audit import DEFAULTS, LIMIT, PROMPTED, measure
from cabench.metrics.corruptions import described
from cabench.registry import DATASETS, METRICS
from cabench.runtime.console import screen
from cabench.runtime.files import atomic_path


def show_audit(
    data: str, n: int | None, draws: int, wanted: str | None, cache: Path, out: Path
) -> int:
    """Measures, prints the matrix, writes it as CSV, Markdown and figure."""
    if data not in DATASETS:
        raise CabenchError(
            f"data set: found '{data}'{near(data, DATASETS.names())}; "
            f"allowed: {listed(DATASETS.names())}"
        )
    known = metrics.needing("samples", metrics.names())
    usual = (*DEFAULTS, *PROMPTED) if data == "emoji" else DEFAULTS
    chosen = tuple(wanted.split(",")) if wanted else usual
    for name in chosen:
        if name not in known:
            raise CabenchError(
                f"--metrics: found '{name}'{near(name, known)}; allowed: {listed(known)}"
            )
    if "clip_score" in chosen:
        raise CabenchError("--metrics: clip_score needs a CLIP, which this command does not take")
    if draws < 3:
        raise CabenchError(f"--sets: found {draws}; a spread takes at least 3")
    dataset = load_dataset(data)
    least = max(METRICS.get(name).min_samples for name in chosen)
    n = n or min(1000, max(least, len(dataset.split("report")) // 4))
    console = screen()
    began = time.perf_counter()
    frame = measure(
        dataset, n, draws, cache, chosen, lambda text: console.print(text, soft_wrap=True)
    )
    paths = [out / f"audit.{data}.{end}" for end in ("csv", "md")]
    with atomic_path(paths[0]) as part:
        frame.to_csv(part, index=False)
    text = markdown(frame, f"cabench audit {data} --n {n} --sets {draws}")
    with atomic_path(paths[1]) as part:
        part.write_text(text, encoding="utf-8")
    paths += audit(out / f"audit.{data}", frame)
    console.print(text.split("\n## ")[0], soft_wrap=True)
    console.print(f"measured in {time.perf_counter() - began:.0f} s", soft_wrap=True)
    console.print("Written:", *(f"  {path}" for path in paths), sep="\n", soft_wrap=True)
    return 0


def markdown(frame: pd.DataFrame, command: str) -> str:
    """The matrix and, metric by metric, where it fails."""
    one = frame.iloc[0]
    shift = frame.assign(
        cell=[
            f"{s:+.1f}{'' if ok else ' (!)'}"
            for s, ok in zip(frame["shift"], frame["agrees"], strict=True)
        ]
    ).pivot(index="label", columns="corruption", values="cell")
    shift = shift.loc[list(dict.fromkeys(frame["label"])), list(dict.fromkeys(frame["corruption"]))]
    lines = [
        f"# Metrics audited on {one['data']}",
        f"`{command}`: {one['sets']} sets of n = {one['n']:,} real pictures of an unseen half of "
        "the report split, against the other half. Shift of the mean in standard deviations of "
        f"the intact sets' scores; + is worse; within {LIMIT:g} it is flat. (!): not as expected.",
        "| metric | intact | " + " | ".join(shift.columns) + " |",
        "|---|---:|" + "---:|" * len(shift.columns),
    ]
    intact = frame.drop_duplicates("label").set_index("label")["intact"]
    table = "\n".join(
        lines[2:]
        + [
            f"| {label} | {intact[label]:.4g} | " + " | ".join(row) + " |"
            for label, row in zip(shift.index, shift.to_numpy(), strict=True)
        ]
    )
    wrong = frame[~frame["agrees"]]
    notes = [
        f"- {row.label}, {row.corruption}: expected {row.expected}, found {row.found} "
        f"({row.intact:.4g} to {row.corrupted:.4g})"
        for row in wrong.itertuples()
    ] or ["- all as expected"]
    told = [f"- {name}: {text}" for name, text in described().items()]
    return (
        "\n\n".join(
            [
                lines[0],
                lines[1],
                table,
                "Not as expected:\n\n" + "\n".join(notes),
                "## Corruptions\n\n" + "\n".join(told),
            ]
        )
        + "\n"
    )
