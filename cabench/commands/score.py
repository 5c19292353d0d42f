"""The verb `score`: further metrics of a run's saved samples. Trains and draws nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from cabench import metrics
from cabench.analysis import tables
from cabench.diffusion.training import load
from cabench.errors import CabenchError, DataMissing, listed, near, shown
from cabench.execution.run import Options, prepare
from cabench.execution.trial import scorers_of
from cabench.planning.trials import Trial
from cabench.records.runs import Run, find_run
from cabench.records.store import Store
from cabench.registry import METRICS
from cabench.runtime.console import screen
from cabench.runtime.files import LOG, atomic_path, write_json


def show_scores(
    study: str,
    scale: str | None,
    wanted: str | None,
    results: Path,
    cache: Path,
    features: Path | None,
    clip: str | None = None,
) -> None:
    """Scores what was drawn, prints the table, writes scores.{csv,md,json} beside the manifest."""
    run = find_run(results, study, scale)
    chosen = parse_metrics(wanted, run)
    planned, store = planned_trials(run, results, cache)
    drawn, lost = saved_samples(planned.trials, store)
    if not drawn:
        raise CabenchError(
            f"{run.name}: no saved samples in {store.cache / 'samples'}; `cabench run "
            f"{run.told['study_file']}` with that cache draws them again"
        )
    if planned.data.missing:
        raise DataMissing(planned.data.missing)
    scorer, *apart = scorers_of(drawn[0][0], store, chosen, clip)
    if apart:
        LOG.warning("samples of unseen concepts are not scored again; those in the records stand")
    scorer.prepare()
    floor, protocol = scorer.floor(), scorer.protocol
    began, pictures = time.perf_counter(), 0
    scores = {}
    for trial, images in drawn:
        if trial.key not in scores:
            scores[trial.key] = scorer.score(images, scorer.labels)
            pictures += len(images)
            if features is not None:
                export(features / f"{trial.arm}.seed-{trial.seed}.npz", scorer, images)
    seconds = time.perf_counter() - began
    if features is not None:
        export_real(features / "real.npz", scorer)

    told = run.told | {
        "metrics": {name: metrics.describe(name, scorer.n) for name in chosen},
        "primary": chosen[0],
        "claims": [],
        "caveat": "",
    }
    held = run.records()
    records = {
        key: held[key]
        | {"metrics": values, "protocol": held[key]["protocol"] | protocol | {"floor": floor}}
        for key, values in scores.items()
    }
    console = screen()
    tables.show(told, records, console)
    folder = run.folder
    paths = [folder / f"scores.{end}" for end in ("csv", "md", "json")]
    tables.to_csv(told, records, paths[0])
    with atomic_path(paths[1]) as part:
        part.write_text(tables.to_markdown(told, records), encoding="utf-8")
    write_json(paths[2], {"protocol": protocol, "floor": floor, "scores": scores})
    if lost:
        console.print(f"\nwithout saved samples, hence left out: {listed(lost)}", soft_wrap=True)
    console.print(
        f"\n{len(scores)} trials, {pictures:,} samples scored in {seconds:.0f} s "
        f"({pictures / seconds:,.0f} a second); nothing was trained or drawn",
        soft_wrap=True,
    )
    paths += sorted(features.glob("*.npz")) if features is not None else []
    console.print("\nWritten:", *(f"  {path}" for path in paths), sep="\n", soft_wrap=True)


def parse_metrics(wanted: str | None, run: Run) -> list[str]:
    """'kid,precision_lite0' -> those; None: the run's own that need samples alone."""
    if wanted is None:
        return metrics.needing("samples", run.told["metrics"])
    chosen = list(dict.fromkeys(name.strip() for name in wanted.split(",") if name.strip()))
    known = metrics.needing("samples", metrics.names())
    if not chosen:
        raise CabenchError(f"--metrics: found {shown(wanted)}; allowed: {listed(known)}")
    for name in chosen:
        if name in METRICS and name not in known:
            raise CabenchError(
                f"--metrics: '{name}' is measured on the network, not on its samples; "
                f"allowed: {listed(known)}"
            )
        if name not in known:
            raise CabenchError(
                f"--metrics: found {shown(name)}{near(name, known)}; allowed: {listed(known)}"
            )
    return chosen


def planned_trials(run: Run, results: Path, cache: Path) -> tuple[Any, Store]:
    """The run's plan, made anew from its study file, and its store with this cache."""
    told = run.told
    options = Options(
        scale=told["scale_file"],
        seeds=",".join(map(str, told["seeds"])) + ",",
        all_arms=True,
        arms=tuple(told["added"]),
        plugins=tuple(Path(p["path"]) for p in told["plugins"]),
        results=results,
        cache=cache,
        use_reference=bool(told.get("use_reference")),
        device="cpu",
        executor="local",
        backbone=told.get("backbone"),
    )
    planned = prepare(Path(told["study_file"]), options).plan
    asked = {trial["key"] for trial in told["trials"]}
    trials = [trial for trial in planned.trials if trial.key in asked]
    if {trial.key for trial in trials} != asked:
        raise CabenchError(
            f"{run.name}: its study, scale or data changed since the run; `cabench run "
            f"{told['study_file']}` measures it as it is now"
        )
    planned.trials[:] = trials
    return planned, Store(results, cache, run.store.reference)


def saved_samples(
    trials: list[Trial], store: Store
) -> tuple[list[tuple[Trial, np.ndarray]], list[str]]:
    """Trials with a complete record and samples (n, C, H, W); the others by name."""
    drawn, lost = [], []
    for trial in trials:
        record = store.record(trial.key)
        done = record is not None and record["status"] == "complete"
        kept = load(store.samples(trial.sample_key(trial.spec["guidance"]))) if done else None
        if kept is None:
            lost.append(f"{trial.arm} (seed {trial.seed})")
        else:
            drawn.append((trial, kept[0]["images"].numpy()))
    return drawn, lost


def export(path: Path, scorer: metrics.SampleScorer, images: np.ndarray) -> None:
    """Writes the samples' features as EXTRACTOR/LAYER, with the samples' labels."""
    found = {name: scorer.features(images, name) for name in scorer.extractors}
    _write(path, found, scorer.labels)


def export_real(path: Path, scorer: metrics.SampleScorer) -> None:
    """The same of the real pictures that samples are compared with."""
    found = {name: scorer.compared(name) for name in scorer.extractors}
    _write(path, found, scorer.reference_labels)


def _write(path: Path, found: dict[str, dict[str, np.ndarray]], labels: np.ndarray) -> None:
    arrays = {f"{name}/{layer}": v for name, of in found.items() for layer, v in of.items()}
    with atomic_path(path) as part, open(part, "wb") as file:
        np.savez(file, labels=labels, **arrays)
