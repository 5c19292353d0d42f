"""The verb `run`: plan, then print it (--dry-run) or execute what is missing and show it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cabench.cost.estimate import seconds_per_image
from cabench.cost.macs import cost, meta_macs
from cabench.errors import CabenchError, DataMissing
from cabench.executors import local
from cabench.outputs import write_outputs
from cabench.plan import Plan, Trial, manifest, plan
from cabench.progress import Progress, clock
from cabench.registry import near
from cabench.store import REFERENCE, Store, write_json
from cabench.study import read_scale, read_study

DEVICES = ("cpu", "cuda", "mps")
LARGEST_SEED = 100_000


@dataclass
class Prepared:
    plan: Plan
    store: Store
    device: str
    jobs: int
    manifest: dict[str, Any]
    missing: list[Trial] = field(default_factory=list)  # trials without a usable record
    failed: int = 0  # trials whose failed record stands

    @property
    def manifest_path(self) -> Path:
        folder = self.store.study_folder(self.manifest["study"], self.manifest["scale"])
        return folder / "manifest.json"


def parse_seeds(text: str | None) -> list[int] | None:
    """'5' -> 0..4; '0,1,7' -> those."""
    if text is None:
        return None
    try:
        seeds = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0 or max(seeds) > LARGEST_SEED or len(set(seeds)) < len(seeds):
        raise CabenchError(f"--seeds: found '{text}'; a count such as 5, or a list such as 0,1,7")
    if "," in text:
        return seeds
    if seeds[0] == 0:
        raise CabenchError("--seeds: found '0'; at least one seed is needed")
    return list(range(seeds[0]))


def pick_device(asked: str) -> str:
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked.split(":")[0] not in DEVICES:
        raise CabenchError(
            f"--device: found '{asked}'{near(asked, DEVICES)}; allowed: auto, {', '.join(DEVICES)}"
        )
    try:
        torch.empty(1, device=asked)
    except Exception as error:  # torch raises many kinds, one for each backend
        reason = str(error).splitlines()[0]
        raise CabenchError(f"--device: '{asked}' can't be used here: {reason}") from None
    return asked


def prepare(
    study: Path, scale: str, seeds: str | None, all_arms: bool, results: Path, cache: Path,
    use_reference: bool, retry_failed: bool, device: str, jobs: int | None,
) -> Prepared:  # fmt: skip
    """Everything that is known before the first trial."""
    chosen_seeds = parse_seeds(seeds)
    planned = plan(read_study(study), read_scale(scale), chosen_seeds, all_arms)
    store = Store(results, cache, REFERENCE if use_reference else None)
    device = pick_device(device)
    jobs = jobs or (local.default_jobs() if device == "cpu" else 1)
    made = Prepared(planned, store, device, jobs, manifest(planned))
    made.manifest["use_reference"] = use_reference
    distinct = {t.key: t for t in planned.trials}.values()  # arms may ask for the same trial
    for trial in distinct if not planned.data.missing else []:
        record = store.record(trial.key)
        if record is None or (record["status"] == "failed" and retry_failed):
            made.missing.append(trial)
        elif record["status"] == "failed":
            made.failed += 1
    return made


def execute(p: Prepared) -> int:
    """Runs what is missing; prints table and files. Exit code 1 when a trial failed."""
    if p.plan.data.missing:
        raise DataMissing(p.plan.data.missing)
    console = Console()
    write_json(p.manifest_path, p.manifest)
    names = {t.key: f"{t.arm}, seed {t.seed}" for t in p.missing}
    if p.missing:
        done = len({t.key for t in p.plan.trials}) - len(p.missing)
        console.print(
            f"{p.manifest['study']} at scale {p.manifest['scale']}: "
            f"{len(p.missing)} trials to run, {done} done already, "
            f"{min(p.jobs, len(p.missing))} side by side on {p.device}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        began = time.monotonic()
        with Progress(console, names, work(p)) as view:
            local.run(p.missing, p.store, p.jobs, p.device, view)
        console.print(f"{len(p.missing)} trials in {clock(time.monotonic() - began)}\n")
    return show(p.manifest, p.store, console)


def show(told: dict[str, Any], store: Store, console: Console) -> int:
    """The table on screen, tables and figures on disk; 1 when a trial failed."""
    from cabench.analysis import tables

    records = store.records([t["key"] for t in told["trials"]])
    tables.show(told, records, console)
    paths = write_outputs(told, records, store)
    console.print("\nWritten:", *(f"  {path}" for path in paths), sep="\n", soft_wrap=True)
    failed = [r for r in records.values() if r["status"] == "failed"]
    if failed:
        console.print(f"\n{len(failed)} trials failed; --retry-failed runs them again")
    return 1 if failed else 0


def work(p: Prepared) -> dict[str, float]:
    """Expected work of each missing trial in MACs, by key: for the time left."""
    macs = {arm: meta_macs(p.plan.models[arm])["total"] for arm in p.plan.arms}
    return {t.key: macs[t.arm] * evaluations(t) for t in p.missing}


def evaluations(trial: Trial) -> float:
    """Forward passes of one picture that a trial comes to; a training step counts as three."""
    sampling = trial.spec["sample"]
    passes = sum(1 if g == 1 else 2 for g in [trial.spec["guidance"], *trial.spec["sweep"]])
    return 3 * trial.spec["images"] + passes * sampling["n"] * sampling["steps"]


def amount(count: float) -> str:
    """'3.58 M', '6.10 G'."""
    power = 9 if count >= 1e9 else 6
    return f"{count / 10**power:,.2f} {'G' if power == 9 else 'M'}"


def dry(p: Prepared) -> int:
    """Prints what would run: trials, what is done, MACs, parameters, an estimate of the time."""
    console = Console()
    data, scale = p.plan.data, p.plan.scale
    told = p.manifest
    if not data.missing and not p.manifest_path.exists():
        write_json(p.manifest_path, told)
    missing = {t.key for t in p.missing}
    console.print(
        f"{told['study']} at scale {told['scale']}: {told['question']}", highlight=False,
        soft_wrap=True,
    )  # fmt: skip
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("arm", no_wrap=True)
    for title in ("to run", "MACs", "conditioning", "params", "time a trial"):
        table.add_column(title, justify="right", no_wrap=True)
    models = {arm: p.plan.models[arm] for arm in p.plan.arms}
    costs = {arm: cost(model) for arm, model in models.items()}
    macs = {arm: c["macs"]["total"] for arm, c in costs.items()}
    pace = seconds_per_image(models, macs, told["baseline"], scale.training.batch, p.device)
    total = 0.0
    for arm in p.plan.arms:
        trials = [t for t in p.plan.trials if t.arm == arm]
        to_run = [t for t in trials if data.missing or t.key in missing]
        seconds = sum(evaluations(t) for t in trials) / len(trials) * pace[arm] / 3
        total += seconds * len(to_run)
        generator, params = costs[arm]["macs"]["generator"], costs[arm]["params"]["total"]
        left = "data missing" if data.missing else f"{len(to_run)} of {len(trials)}"
        table.add_row(
            arm, left, amount(macs[arm]), f"{generator / macs[arm]:.1%}", amount(params),
            clock(seconds),
        )  # fmt: skip
    console.print(table)
    side = max(1, min(p.jobs, len(p.plan.trials)))
    console.print(
        f"{len(p.plan.trials)} trials: seeds {', '.join(map(str, p.plan.seeds))}; "
        f"{scale.training.images:,} images a trial; "
        f"data {data.source}, {'x'.join(map(str, data.shape))}; {side} side by side on {p.device}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print(
        f"estimate: {clock(total / side)} on this machine, from training steps timed just now; "
        "scoring and trials that share a machine take a third more; "
        "MACs: batch 1, one evaluation, conditioning (its share beside) included",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if p.failed:
        console.print(f"{p.failed} trials failed earlier; --retry-failed runs them again")
    if data.missing:
        console.print(f"data missing: {data.missing}", markup=False, soft_wrap=True)
    return 0
