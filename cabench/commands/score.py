"""`cabench score`: score a run's saved samples with further metrics, without training or sampling.

Specs come from the records, the data's options from the scale that the manifest names. Nothing that
a results directory names is executed: plugins are given by --plugin.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cabench import metrics
from cabench.analysis import tables
from cabench.analysis.verdict_text import verdicts_by_metric
from cabench.config.scale import Scale
from cabench.diffusion.checkpoints import load
from cabench.errors import CabenchError, listed, near, plural, shown
from cabench.evidence.results import Results
from cabench.metrics.clip import Clip
from cabench.metrics.scorer import OPTIONAL
from cabench.planning.run_data import drawn, find_dataset, scale_of, without_draw
from cabench.plugins import load_plugins, read_plugins
from cabench.records.paper_scores import WEIGHTS, PaperScore, add_paper_scores
from cabench.records.runs import Run, find_run
from cabench.records.schema import Manifest, MetricInfo, Protocol
from cabench.records.spec import ClipSpec, DataSpec, TrialSpec
from cabench.records.store import Store
from cabench.registry import METRICS
from cabench.runtime.console import screen
from cabench.runtime.files import LOG, atomic_path, write_json

BY_METRIC = (
    "The study's claims by each of these metrics alone, corrected over the claims (Holm); "
    "the study's verdicts remain those of its own metrics"
)


@dataclass(frozen=True)
class Sampled:
    """A trial of the run with its saved samples."""

    arm: str
    seed: int
    key: str
    spec: TrialSpec
    images: np.ndarray  # (n, C, H, W) uint8, at the primary guidance


def show_scores(
    study: str,
    scale: str | None,
    metric_names: str | None,  # comma-separated; None: the run's own
    results: Path,
    cache: Path,
    features: Path | None,
    clip: str | None = None,
    plugins: Iterable[Path] = (),
) -> None:
    """Print the table of scores and write scores.{csv,md,json} beside the manifest."""
    load_plugins(read_plugins(plugins))
    run = find_run(results, study, scale)
    chosen = parse_metrics(metric_names, run)
    store = Store(results, cache, run.store.reference)
    trials, lost = saved_samples(run, store)
    if not trials:
        raise CabenchError(
            f"{run.name}: no saved samples in {store.cache / 'samples'}; `cabench run "
            f"{run.manifest.study_file}` with that cache draws them again"
        )
    scorers = make_scorers(run, trials, chosen, clip, cache)
    for scorer in scorers.values():
        scorer.prepare()
    began = time.perf_counter()
    scored = [_score(trial, scorers[trial.spec.train.data]) for trial in distinct(trials)]
    seconds = time.perf_counter() - began
    paths = write_scores(run, chosen, scored)
    if features is not None:
        for trial in distinct(trials):
            scorer = scorers[trial.spec.train.data]
            export(features / f"{trial.arm}.seed-{trial.seed}.npz", scorer, trial.images)
        for data, scorer in scorers.items():
            draw = "" if data.resample is None else f".seed-{data.resample.seed}"
            export_real(features / f"real{draw}.npz", scorer)
        paths += sorted(features.glob("*.npz"))
    count = len(scored) * trials[0].spec.sample.n
    console = screen()
    if lost:
        console.print(f"\nleft out, without saved samples: {listed(lost)}", soft_wrap=True)
    console.print(
        f"\n{plural(len(scored), 'trial')}, {plural(count, 'sample')} scored in {seconds:.0f} s "
        f"({count / seconds:,.0f} per second); nothing was trained or sampled",
        soft_wrap=True,
    )
    console.print("\nWritten:", *(f"  {path}" for path in paths), sep="\n", soft_wrap=True)


def parse_metrics(names: str | None, run: Run) -> list[str]:
    """'kid,precision_lite0' -> the metrics of samples; None: those of the run."""
    if names is None:
        measured = [name for name in run.manifest.metrics if "/" not in name]  # no 'kid/unseen'
        if absent := [name for name in measured if name not in METRICS]:
            text = f"{run.name} was measured with {listed(absent)} of a plugin; name it: --plugin"
            raise CabenchError(f"{text} {' --plugin '.join(p.path for p in run.manifest.plugins)}")
        return metrics.needing("samples", measured)
    return named_metrics(names)


def named_metrics(names: str) -> list[str]:
    """'kid,precision_lite0' -> the metrics; CabenchError for unknown ones and those of networks."""
    chosen = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    known = metrics.needing("samples", metrics.names())
    if not chosen:
        raise CabenchError(f"--metrics: expected {listed(known)}, got {shown(names)}")
    for name in chosen:
        if name in METRICS and name not in known:
            raise CabenchError(
                f"--metrics: '{name}' is measured on the network, not on samples; "
                f"allowed: {listed(known)}"
            )
        if name not in known:
            raise CabenchError(
                f"--metrics: unknown metric {shown(name)}{near(name, known)}; "
                f"allowed: {listed(known)}"
            )
    return chosen


# ---- from the results directory -----------------------------------------------------------------


def saved_samples(run: Run, store: Store) -> tuple[list[Sampled], list[str]]:
    """The complete trials whose samples are in the cache, and the names of the others."""
    trials, lost = [], []
    for trial in run.manifest.trials:
        record = store.record(trial.key)
        saved = None
        if record is not None and record.complete:
            saved = load(store.samples(record.spec.sample_key(record.spec.guidance)))
        if record is None or saved is None:
            lost.append(f"{trial.arm} (seed {trial.seed})")
        else:
            images = saved[0]["images"].numpy()
            trials.append(Sampled(trial.arm, trial.seed, trial.key, record.spec, images))
    return trials, lost


def distinct(trials: list[Sampled]) -> list[Sampled]:
    """One trial per key: arms may share trials."""
    return list({trial.key: trial for trial in reversed(trials)}.values())[::-1]


def make_scorers(
    run: Run, trials: list[Sampled], chosen: list[str], clip: str | None, cache: Path
) -> dict[DataSpec, metrics.SampleScorer]:
    """The scorer of samples conditioned on the report split, for each draw of the real images."""
    spec = trials[0].spec
    whole = without_draw(spec.train.data)
    for trial in trials:
        if (without_draw(trial.spec.train.data), trial.spec.sample.n) != (whole, spec.sample.n):
            raise CabenchError(f"{run.name}: its trials have different data or sample counts")
    if spec.score.unseen is not None:
        LOG.warning("only samples of the report split are scored, not those of unseen concepts")
    scale = scale_of(run)
    dataset = find_dataset(run, scale, whole)
    network = None
    if clip is not None:
        network = Clip(clip)
    elif "clip_score" in chosen and spec.score.clip is not None:
        network = find_clip(run, scale, spec.score.clip)
    draws = {}
    for data in dict.fromkeys(trial.spec.train.data for trial in trials):
        real = drawn(dataset, data)
        draws[data] = metrics.SampleScorer(real, spec.sample.n, cache, metrics=chosen, clip=network)
    return draws


def find_clip(run: Run, scale: Scale, spec: ClipSpec) -> Clip:
    """The CLIP that the records' fingerprint names, at the scale's path."""
    if scale.clip is None:
        raise CabenchError(f"{run.name}: scale '{scale.scale}' names no CLIP: give --clip FOLDER")
    clip = Clip(scale.clip.path, spec.template)
    if clip.fingerprint != spec.fingerprint:
        raise CabenchError(f"{run.name}: the CLIP in {clip.path} changed since the run")
    return clip


# ---- to the results directory -------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """A trial's scores, and those of real images."""

    key: str
    scores: dict[str, float]
    floor: dict[str, float]
    protocol: dict[str, Any]


def _score(trial: Sampled, scorer: metrics.SampleScorer) -> Scored:
    scores, floor = scorer.score(trial.images, scorer.labels), scorer.floor()
    require_finite(scores)
    require_finite(floor)
    return Scored(trial.key, scores, floor, scorer.protocol)


def require_finite(scores: dict[str, float]) -> None:
    """CabenchError names the first score that is not a finite number."""
    for name, value in scores.items():
        if not math.isfinite(value):
            raise CabenchError(f"metric '{name}': expected a finite number, got {value}")


def write_scores(run: Run, chosen: list[str], scored: list[Scored]) -> list[Path]:
    """Print the table and write it beside the manifest; return the paths."""
    n = scored[0].protocol["n"]
    manifest = run.manifest.model_copy(
        update={
            "metrics": {
                name: MetricInfo.model_validate(metrics.describe(name, n)) for name in chosen
            },
            "primary": chosen[0],
            "claims": (),
            "caveat": "",
        }
    )
    known = run.records()
    records = {}
    for one in scored:
        record = known.get(one.key)
        if record is not None and record.protocol is not None:
            before = {k: v for k, v in record.protocol.dump().items() if k not in OPTIONAL}
            protocol = before | one.protocol | {"floor": one.floor}
            update = {"metrics": one.scores, "protocol": Protocol.model_validate(protocol)}
            records[one.key] = record.model_copy(update=update)
    paths = [run.folder / f"scores.{suffix}" for suffix in ("csv", "md", "json")]
    results = Results(manifest, records)
    tables.show(results, screen())
    tables.to_csv(results, paths[0])
    text = tables.to_markdown(results)
    own = manifest.model_copy(update={"claims": run.manifest.claims})
    if (by_metric := verdicts_by_metric(Results(own, records))) is not None:
        screen().print(f"\n{BY_METRIC}", soft_wrap=True)
        tables.show_table(by_metric, screen())
        text += "\n" + tables.markdown_table(BY_METRIC, by_metric)
    with atomic_path(paths[1]) as part:
        part.write_text(text, encoding="utf-8")
    floor = {name: float(np.mean([one.floor[name] for one in scored])) for name in chosen}
    if paper := _paper_scores(manifest, scored, floor):
        paths.append(add_paper_scores(run.folder, paper))
    content = {"protocol": scored[0].protocol, "floor": floor}
    write_json(paths[2], content | {"scores": {one.key: one.scores for one in scored}})
    return paths


def _paper_scores(
    manifest: Manifest, scored: list[Scored], floor: dict[str, float]
) -> dict[str, PaperScore]:
    """Those of the paper's metrics that are scored, for the run's reports."""
    protocol, paper = scored[0].protocol, {}
    for name, (part, key) in WEIGHTS.items():
        if name not in manifest.metrics:
            continue
        paper[name] = PaperScore(
            label=manifest.metrics[name].label,
            higher_is_better=manifest.metrics[name].higher_is_better,
            weights=protocol[part][key],
            floor=floor[name],
            scores={one.key: one.scores[name] for one in scored},
        )
    return paper


def export(path: Path, scorer: metrics.SampleScorer, images: np.ndarray) -> None:
    """Write the samples' features as EXTRACTOR/LAYER arrays, with the labels they are given."""
    features = {name: scorer.features(images, name) for name in scorer.extractors}
    _write_features(path, features, scorer.labels)


def export_real(path: Path, scorer: metrics.SampleScorer) -> None:
    """Write the features of the real images that samples are compared with."""
    features = {name: scorer.reference_features(name) for name in scorer.extractors}
    _write_features(path, features, scorer.reference_labels)


def _write_features(
    path: Path, features: dict[str, dict[str, np.ndarray]], labels: np.ndarray
) -> None:
    arrays = {"labels": labels} | {
        f"{extractor}/{layer}": values
        for extractor, layers in features.items()
        for layer, values in layers.items()
    }
    with atomic_path(path) as part, open(part, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
