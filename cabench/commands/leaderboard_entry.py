"""`cabench entry`: one arm's results beside its baseline's, as a folder to send."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from cabench.commands.compare import target_of
from cabench.config.files import scale_names
from cabench.config.study import read_scale
from cabench.errors import CabenchError, listed, plural, unknown
from cabench.evidence.results import Results
from cabench.evidence.statistics import deviation
from cabench.planning.own_data import as_yaml
from cabench.plugins import read_plugins
from cabench.records.entry import FILE, PLUGINS, ROWS, Entry, EntryScore, EntryTrial
from cabench.records.runs import OWN_SCALE, Run, find_run
from cabench.records.schema import Manifest, ManifestDesign
from cabench.records.store import Store
from cabench.runtime.console import screen
from cabench.runtime.files import atomic_folder, file_hash, finite_or_none, write_json
from cabench.version import __version__


def show_entry(text: str, results: Path, folder: Path, by: str, url: str) -> None:
    """Write the entry of what `text` names; print how to check it."""
    target, arm = target_of(text, results)
    run = find_run(target.directory, target.study, or_reference=True)
    arms = [entry.name for entry in run.manifest.run_arms]
    if arm not in arms:
        raise CabenchError(f"{run.name}: {unknown('arm', arm, arms)}")
    if arm == run.manifest.baseline:
        raise CabenchError(f"{run.name}: {arm} is the baseline; expected an arm beside it")
    entry = write_entry(run, arm, folder, by, url)
    plugins = "".join(f" --plugin {p.path}" for p in entry.plugins)
    console = screen()
    console.print(
        f"{entry.arm} and {entry.baseline}, {plural(len(entry.trials), 'trial')}: {folder}\n"
        f"Check it with: cabench verify {folder}{plugins}",
        soft_wrap=True,
    )


def write_entry(run: Run, arm: str, folder: Path, by: str = "", url: str = "") -> Entry:
    """Write the entry of an arm to `folder`, which is new or empty; return it.

    CabenchError where a trial of the arm or of the baseline is not complete, a file beside a record
    is corrupted, or a plugin is not the file that the run used.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CabenchError(f"{folder}: expected a new or empty folder")
    manifest = restricted(run, arm)
    with atomic_folder(folder) as part:
        store = Store(part, run.store.cache)
        _copy_trials(manifest, run.store, store)
        place = store.study_folder(manifest.study, manifest.scale)
        place.mkdir()
        if manifest.scale_file and manifest.scale_file not in scale_names():
            scale = read_scale(manifest.scale_file).scale  # parsed: nothing else may leave
            if scale.scale != manifest.scale:
                raise CabenchError(f"{manifest.scale_file}: expected scale '{manifest.scale}'")
            (place / OWN_SCALE).write_text(as_yaml(scale), "utf-8")
        write_json(place / "manifest.json", manifest.dump())
        for plugin in read_plugins(Path(p.path) for p in manifest.plugins):
            if plugin.sha256 not in {p.sha256 for p in manifest.plugins}:
                raise CabenchError(f"{plugin.path}: it has changed since the run")
            (part / PLUGINS).mkdir(exist_ok=True)
            for path in plugin.files:
                shutil.copyfile(path, part / PLUGINS / Path(path).name)
        (part / ROWS).write_text(trial_rows(Run(manifest, store)), "utf-8")
        entry = entry_of(Run(manifest, store), arm, by, url)
        write_json(part / FILE, entry.dump())
    return entry


def restricted(run: Run, arm: str) -> Manifest:
    """The run's manifest with the arm and the baseline alone, and the seeds that both have."""
    manifest = run.manifest
    baseline = manifest.baseline
    seeds = {name: {t.seed for t in manifest.trials if t.arm == name} for name in (arm, baseline)}
    common = seeds[arm] & seeds[baseline]
    trials = tuple(t for t in manifest.trials if t.arm in seeds and t.seed in common)
    incomplete = [
        f"{t.arm}, seed {t.seed}"
        for t in trials
        if (record := run.store.sound(t.key)) is None or not record.complete
    ]
    if incomplete:
        raise CabenchError(f"{run.name}: no complete trial of {listed(incomplete)}")
    if left := manifest.design.left_out:
        seen = ", ".join(map(str, left))
        raise CabenchError(
            f"{run.name}: seeds were run and left out: {seen}; run them with --seeds"
        )
    if not trials:
        raise CabenchError(f"{run.name}: {arm} and {baseline} have no seed in common")
    return manifest.model_copy(
        update={
            "arms": tuple(a for a in manifest.arms if a.name in seeds),
            "seeds": tuple(seed for seed in manifest.seeds if seed in common),
            "trials": trials,
            "shorter": (),
            "claims": tuple(c for c in manifest.claims if set(c.arms) <= set(seeds)),
            "tuning": {a: result for a, result in manifest.tuning.items() if a in seeds},
            "design": _design(manifest.design, common),
            "use_reference": False,
        }
    )


def _design(design: ManifestDesign, seeds: set[int]) -> ManifestDesign:
    return design.model_copy(
        update={
            "first": tuple(s for s in design.first if s in seeds),
            "earlier": tuple(s for s in design.earlier if s in seeds),
        }
    )


def _copy_trials(manifest: Manifest, source: Store, target: Store) -> None:
    target.record_path("x").parent.mkdir(parents=True)
    for key in dict.fromkeys(trial.key for trial in manifest.trials):
        record = source.sound(key)
        assert record is not None  # checked before
        for suffix in (".json", *record.files):
            path = source.find(key, suffix)
            assert path is not None
            shutil.copyfile(path, target.beside(key, suffix))


def entry_of(run: Run, arm: str, by: str = "", url: str = "") -> Entry:
    """The entry that follows from a run's manifest and records."""
    results, manifest = Results.of(run), run.manifest
    cost, base_cost = results.costs[arm], results.costs[manifest.baseline]
    spec = results.complete(arm)[0].spec
    described = manifest.arm(arm)
    return Entry(
        cabench=__version__,
        study=manifest.study,
        scale=manifest.scale,
        backbone=manifest.backbone,
        data=spec.train.data.source,
        fingerprint=spec.train.data.fingerprint,
        arm=arm,
        about=described.about if described else "",
        baseline=manifest.baseline,
        images=spec.images,
        macs=int(cost.macs),
        baseline_macs=int(base_cost.macs),
        params=int(cost.params),
        baseline_params=int(base_cost.params),
        scores=tuple(_scores(results, arm)),
        trials=tuple(
            EntryTrial(
                arm=t.arm, seed=t.seed, key=t.key, sha256=file_hash(run.store.record_path(t.key))
            )
            for t in manifest.trials
        ),
        plugins=manifest.plugins,
        by=by,
        url=url,
    )


def trial_rows(run: Run) -> str:
    """A JSON line per trial, flat: names, scores, cost, and the whole spec as JSON text."""
    lines = []
    for trial in run.manifest.trials:
        record = run.store.record(trial.key)
        assert record is not None and record.cost is not None  # complete
        row = {
            "study": run.manifest.study,
            "scale": run.manifest.scale,
            "backbone": run.manifest.backbone,
            "data": record.spec.train.data.source,
            "arm": trial.arm,
            "seed": trial.seed,
            "key": trial.key,
            "images": record.spec.images,
            "n": record.spec.sample.n,
            "macs": record.cost.macs.total,
            "params": record.cost.params.total,
            **{f"metrics.{name}": float(value) for name, value in record.metrics.items()},
            **{f"timing.{name}": float(value) for name, value in record.timing.items()},
            "spec": json.dumps(record.spec.dump(), sort_keys=True),
        }
        lines.append(json.dumps(row) + "\n")
    return "".join(lines)


def _scores(results: Results, arm: str) -> Iterator[EntryScore]:
    rows = {(row.metric, row.arm): row for row in results.compare_arms()}
    for name, metric in results.metrics.items():
        ours, base = rows.get((name, arm)), rows.get((name, results.manifest.baseline))
        if ours is None or base is None:
            continue
        yield EntryScore(
            metric=name,
            label=metric.label,
            higher_is_better=metric.higher_is_better,
            mean=ours.level.mean,
            sd=finite_or_none(deviation(ours.level.values)),
            baseline_mean=base.level.mean,
            baseline_sd=finite_or_none(deviation(base.level.values)),
            difference=ours.difference.mean,
            low=finite_or_none(ours.difference.low),
            high=finite_or_none(ours.difference.high),
            seeds=ours.difference.n,
        )
