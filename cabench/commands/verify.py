"""`cabench verify`: check an entry's files, keys and numbers, and repeat some of its trials."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cabench.analysis.comparison import (
    Side,
    agreement,
    model_differences,
    protocol_differences,
)
from cabench.commands.leaderboard_entry import entry_of, trial_rows
from cabench.config.scale import Scale
from cabench.config.study import read_scale
from cabench.errors import CabenchError, plural
from cabench.evidence.results import Results
from cabench.execution.executors import local
from cabench.execution.progress import Progress
from cabench.planning.run_data import find_choice, without_draw
from cabench.planning.trials import Places, Trial
from cabench.plugins import Plugin, load_plugins, read_plugins
from cabench.records.entry import ROWS, Entry, EntryScore, read_entry
from cabench.records.runs import OWN_SCALE, Run, find_run
from cabench.records.schema import Record
from cabench.records.store import Store
from cabench.runtime.console import screen
from cabench.runtime.files import file_hash


@dataclass(frozen=True)
class Check:
    """One check of an entry, and the faults that it met; [] where it passed."""

    what: str
    faults: Sequence[str]

    def __str__(self) -> str:
        mark = "failed" if self.faults else "passed"
        return "\n".join([f"{mark}  {self.what}", *(f"        {fault}" for fault in self.faults)])


def show_checks(folder: Path, repeat: int, plugin_files: Sequence[Path], device: str) -> int:
    """Print each check of the entry in `folder`; return 1 where one of them failed.

    `repeat` trials, chosen at random, are trained, sampled and scored again and compared to the
    bit. An entry's own plugins are never executed: only `plugin_files` are.
    """
    console = screen()
    entry = read_entry(folder)
    plugins = read_plugins(plugin_files)
    passed = True
    for check in checks(folder, entry, repeat, plugins, device):
        console.print(str(check), markup=False, highlight=False, soft_wrap=True)
        passed &= not check.faults
    return 0 if passed else 1


def checks(
    folder: Path, entry: Entry, repeat: int, plugins: Sequence[Plugin], device: str
) -> Iterator[Check]:
    """The checks in order; the later ones are left out where an earlier one failed."""
    run = find_run(folder, entry.study, entry.scale)
    for of_records in (files, one_model, scores):
        check = of_records(run, entry)
        yield check
        if check.faults:
            return
    yield (check := code(entry, plugins))
    if check.faults:
        return
    if repeat:
        load_plugins(plugins)
        yield repeated(run, entry, repeat, plugins, device)


def files(run: Run, entry: Entry) -> Check:
    """Records are intact, those that the entry lists, and their keys are the hashes of specs."""
    faults = []
    listed = {(t.arm, t.seed, t.key) for t in entry.trials}
    if listed != {(t.arm, t.seed, t.key) for t in run.manifest.trials}:
        faults.append("the trials of the manifest are others than those of the entry")
    if run.manifest.baseline != entry.baseline:
        faults.append(f"the manifest's baseline is {run.manifest.baseline}")
    for arm in (entry.arm, entry.baseline):
        if run.manifest.arm(arm) is None or all(t.arm != arm for t in entry.trials):
            faults.append(f"no trial of {arm}")
    if left := run.manifest.design.left_out:
        faults.append(f"seeds that were run are left out: {', '.join(map(str, left))}")
    for trial in entry.trials:
        record = run.store.sound(trial.key)
        place = f"{trial.arm}, seed {trial.seed} ({trial.key})"
        if record is None:
            faults.append(f"{place}: the record or a file beside it is missing or corrupted")
        elif record.spec.key != trial.key:
            faults.append(f"{place}: its spec has the key {record.spec.key}")
        elif file_hash(run.store.record_path(trial.key)) != trial.sha256:
            faults.append(f"{place}: not the file that the entry was written for")
        elif not record.complete or record.spec.train.seed != trial.seed:
            faults.append(f"{place}: not a complete trial of this seed")
    return Check(
        f"{plural(len(entry.trials), 'record')}: intact, listed, keys are hashes of specs", faults
    )


def one_model(run: Run, entry: Entry) -> Check:
    """All trials of an arm have one model, and all trials of the entry one protocol."""
    records = Results.of(run).records
    first: dict[str, Record] = {}
    faults = []
    for trial in entry.trials:
        record = records[trial.key]
        own, other = first.setdefault(trial.arm, record), records[entry.trials[0].key]
        unequal = [*model_differences(own, record), *protocol_differences(other, record)]
        # a study may give each seed a half of the data of its own
        unequal = [d for d in unequal if not d.path.startswith("train.data.resample")]
        if unequal:
            place = f"{trial.arm}, seed {trial.seed} ({trial.key})"
            faults.append(f"{place}: differs in {'; '.join(map(str, unequal[:4]))}")
    return Check("one model an arm, one protocol for all trials", faults)


def scores(run: Run, entry: Entry) -> Check:
    """The numbers of the entry are those that follow from its records."""
    expected = entry_of(run, entry.arm, entry.by, entry.url)
    faults = [
        f"{name}: expected {getattr(expected, name)}, got {getattr(entry, name)}"
        for name in Entry.model_fields
        if name not in ("cabench", "scores") and getattr(expected, name) != getattr(entry, name)
    ]
    rows = run.store.results / ROWS
    if not rows.is_file() or rows.read_text("utf-8") != trial_rows(run):
        faults.append(f"{ROWS}: not the rows of the records")
    ours = {score.metric: score for score in expected.scores}
    if missing := [name for name in ours if name not in {s.metric for s in entry.scores}]:
        faults.append(f"scores that the records have and the entry lacks: {', '.join(missing)}")
    faults += [
        f"{score.metric}: expected {ours.get(score.metric)}, got {score}"
        for score in entry.scores
        if not _close(ours.get(score.metric), score)
    ]
    return Check(f"{len(entry.scores)} scores and costs: those of the records", faults)


def _close(expected: EntryScore | None, score: EntryScore) -> bool:
    """Equal up to the rounding of another machine's means."""
    if expected is None:
        return False
    ours, theirs = expected.model_dump(), score.model_dump()
    return all(
        abs(a - b) <= 1e-9 * max(abs(a), abs(b))
        if isinstance(a, float) and isinstance(b, float)
        else a == b
        for a, b in ((ours[name], theirs[name]) for name in ours)
    )


def code(entry: Entry, plugins: Sequence[Plugin]) -> Check:
    """The plugins are given, and are the files that the entry's run used."""
    given = {plugin.sha256 for plugin in plugins}
    faults = [
        f"{Path(plugin.path).name}: read plugins/{Path(plugin.path).name} of the entry, then give "
        "it by --plugin; an entry's code is not executed without"
        for plugin in entry.plugins
        if plugin.sha256 not in given
    ]
    return Check(f"{plural(len(entry.plugins), 'plugin')}: given by --plugin", faults)


def repeated(run: Run, entry: Entry, repeat: int, plugins: Sequence[Plugin], device: str) -> Check:
    """Trials chosen at random have the same metrics, spec and cost when they run again."""
    chosen = random.SystemRandom().sample(entry.trials, min(repeat, len(entry.trials)))
    trials = [_trial(run, t.arm, t.key, plugins) for t in chosen]
    names = {trial.key: f"{trial.arm}, seed {trial.seed}" for trial in trials}
    with tempfile.TemporaryDirectory(prefix="cabench-verify-") as scratch:
        store = Store(Path(scratch) / "results", Path(scratch) / "cache")
        with Progress(screen(), names, dict.fromkeys(names, 1.0)) as view:
            local.run(trials, store, device, view.receive)
        manifest = run.manifest.model_copy(
            update={"trials": tuple(t for t in run.manifest.trials if t.key in names)}
        )
        again = Side("repeated", Results.of(Run(manifest, store)))
        outcome = agreement(Side("entry", Results.of(Run(manifest, run.store))), again)
    faults = [
        f"{name}: {again.results.records[key].error}"
        for key, name in names.items()
        if not again.results.records[key].complete
    ]
    faults += outcome.faults
    if outcome.environments and outcome.faults:
        differing = "; ".join(map(str, outcome.environments))
        faults.append(f"equal bits are promised on one type of machine; here differ: {differing}")
    return Check(
        f"{plural(len(names), 'trial')} repeated to the bit: {', '.join(names.values())}", faults
    )


def _trial(run: Run, arm: str, key: str, plugins: Sequence[Plugin]) -> Trial:
    """The trial of a record, on this machine's data."""
    record = run.store.record(key)
    assert record is not None  # checked before
    scale = _scale(run)
    train = record.spec.train
    choice, _ = find_choice(run, scale, without_draw(train.data))
    return Trial(
        arm=arm,
        seed=train.seed,
        spec=record.spec,
        places=Places(
            choice.options,
            text=choice.text.path if choice.text else None,
            clip=scale.clip.path if scale.clip else None,
            init_from=scale.training.init_from,
        ),
        snapshot_every=scale.training.snapshot_every,
        keep_state=False,
        plugins=tuple(plugins),
    )


def _scale(run: Run) -> Scale:
    """The scale: the entry's own file, else the one of that name that comes with cabench."""
    own = run.store.study_folder(run.manifest.study, run.manifest.scale) / OWN_SCALE
    settings = [setting.text for setting in run.manifest.settings]
    scale = read_scale(str(own) if own.exists() else run.manifest.scale, settings).scale
    if scale.scale != run.manifest.scale:
        raise CabenchError(f"{own}: expected scale '{run.manifest.scale}', got '{scale.scale}'")
    return scale
