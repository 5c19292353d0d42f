"""Prepare a run (plan, missing searches and trials), then execute it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from cabench.config.schema import MOST_SEEDS
from cabench.config.study import read_scale, read_study
from cabench.cost.macs import meta_macs
from cabench.errors import CabenchError, DataMissing, near, shown
from cabench.execution.executors import local
from cabench.execution.progress import Progress
from cabench.execution.tuning import outcome
from cabench.planning.data import DataRef
from cabench.planning.trials import Plan, Trial, manifest, plan
from cabench.planning.tuning import Search, searches, tuned
from cabench.plugins import load_plugins, read_plugins
from cabench.records.sample_grid import is_intact
from cabench.records.store import REFERENCE, SHEET, Store
from cabench.runtime.console import screen
from cabench.runtime.devices import pick_device
from cabench.runtime.files import write_json
from cabench.runtime.sealed import is_valid

EXECUTORS = ("auto", "local", "ray")
LARGEST_SEED = 100_000
ADDRESS = re.compile(r"auto|([\w.-]+|\[[\w.:%]+\]):\d{1,5}")  # of a Ray cluster


def parse_seeds(text: str | None) -> list[int] | None:
    """'5' -> 0..4; '0,1,7' -> those."""
    if text is None:
        return None
    try:
        seeds = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0 or max(seeds) > LARGEST_SEED or len(set(seeds)) < len(seeds):
        raise CabenchError(
            f"--seeds: found {shown(text)}; a count such as 5, or a list such as 0,1,7 of "
            f"different seeds up to {LARGEST_SEED}"
        )
    if "," in text:
        return seeds
    if not 0 < seeds[0] <= MOST_SEEDS:
        raise CabenchError(f"--seeds: found {shown(text)}; allowed: 1 to {MOST_SEEDS} seeds")
    return list(range(seeds[0]))


@dataclass(frozen=True)
class Options:
    """What the command line says beyond the study."""

    scale: str = "quick"
    seeds: str | None = None
    all_arms: bool = False
    arms: tuple[str, ...] = ()  # further arms, as YAML
    plugins: tuple[Path, ...] = ()
    results: Path = Path("results")
    cache: Path = Path(".cabench")
    use_reference: bool = False
    retry_failed: bool = False
    device: str = "auto"
    jobs: int | None = None  # trials side by side
    executor: str = "auto"
    ray_address: str | None = None
    backbone: str | None = None  # of the study's; None: its first


@dataclass
class Prepared:
    """A run before its first trial: what is asked for, and what of it is missing."""

    options: Options
    plan: Plan
    store: Store
    device: str
    searches: list[Search] = field(default_factory=list)  # learning rates still to be found
    missing: list[Trial] = field(default_factory=list)  # trials without a sound record
    failed: int = 0  # trials whose failed record stands

    def find_missing(self) -> None:
        """Which trials have no sound record."""
        self.missing, self.failed = [], 0
        distinct = {t.key: t for t in self.plan.trials}.values()  # arms may ask for the same trial
        for trial in distinct:
            record = self.store.sound(trial.key)
            if record is None or (record["status"] == "failed" and self.options.retry_failed):
                self.missing.append(trial)
            elif record["status"] == "failed":
                self.failed += 1

    @property
    def told(self) -> dict[str, Any]:
        asked = {"scale_file": self.options.scale, "use_reference": self.options.use_reference}
        return manifest(self.plan) | asked

    @property
    def manifest_path(self) -> Path:
        study, scale = self.plan.file.study.study, self.plan.scale.scale
        return self.store.study_folder(study, scale) / "manifest.json"

    @property
    def executor(self) -> str:
        """Ray where trials can run side by side, else this process."""
        if self.options.executor != "auto":
            return self.options.executor
        if self.options.ray_address is not None:
            return "ray"
        return "ray" if min(self.jobs, len(self.missing)) > 1 else "local"

    @property
    def jobs(self) -> int:
        """Trials side by side on this machine: one per core or GPU, or as many as are asked for."""
        if self.options.executor == "local":
            return 1
        if self.options.jobs is not None:
            return self.options.jobs
        resources = self.plan.scale.resources
        if self.device == "cpu":
            return max(1, cores() // resources.cpus)
        if self.device == "cuda":
            import torch

            return max(1, int(torch.cuda.device_count() / (resources.gpus or 1)))
        return 1

    @property
    def pool(self) -> Any:
        from cabench.execution.executors.ray import Pool

        asked, resources = self.options, self.plan.scale.resources
        gpus = 0.0 if self.device in ("cpu", "mps") else resources.gpus
        jobs = asked.jobs if asked.ray_address else self.jobs
        return Pool(jobs, resources.cpus, gpus, asked.ray_address)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare(study: Path, options: Options) -> Prepared:
    """Everything that is known before the first trial."""
    _check_executor(options)
    plugins = tuple(read_plugins(options.plugins))
    load_plugins(plugins)
    seeds = parse_seeds(options.seeds)
    file, scale = read_study(study, options.arms, options.backbone), read_scale(options.scale)
    planned = plan(file, scale, seeds, options.all_arms, plugins)
    store = Store(options.results, options.cache, REFERENCE if options.use_reference else None)
    elsewhere = options.ray_address is not None and options.device == "auto"
    if elsewhere:  # the nodes decide
        device = "cuda" if scale.resources.gpus else "cpu"
    else:
        device = pick_device(options.device)
    made = Prepared(options, planned, store, device)
    if planned.data.missing:
        return made
    asked = searches(planned)
    outcomes = {search.arm: outcome(search, store) for search in asked}
    made.searches = [search for search in asked if outcomes[search.arm] is None]
    if made.searches:
        made.missing = list(planned.trials)  # their rates are not known yet
        return made
    if asked:
        made.plan = tuned(planned, outcomes)
    made.find_missing()
    return made


def _check_executor(options: Options) -> None:
    if options.executor not in EXECUTORS:
        raise CabenchError(
            f"--executor: found {shown(options.executor)}{near(options.executor, EXECUTORS)}; "
            f"allowed: {', '.join(EXECUTORS)}"
        )
    if options.executor == "local" and (options.jobs or 1) > 1:
        raise CabenchError(f"--jobs: found {options.jobs}; the local executor runs one at a time")
    if options.executor == "local" and options.ray_address is not None:
        raise CabenchError(
            f"--ray-address: found {shown(options.ray_address)}; the local executor uses no cluster"
        )
    if options.ray_address is not None and not ADDRESS.fullmatch(options.ray_address):
        raise CabenchError(
            f"--ray-address: found {shown(options.ray_address)}; "
            "allowed: HOST:PORT, [IPV6]:PORT, or auto"
        )


def execute(p: Prepared) -> None:
    """Run the searches and trials that are missing; their records are on disk when it returns."""
    if p.plan.data.missing:
        raise DataMissing(p.plan.data.missing)
    console = screen()
    if p.searches:
        found = _search(p, console)
        known = {s.arm: outcome(s, p.store) for s in searches(p.plan)}
        p.plan, p.searches = tuned(p.plan, known | found), []
        p.find_missing()
    write_json(p.manifest_path, p.told)
    p.store.sweep()
    if p.missing:
        _check_vae(p.plan.data)
        _run(p, console)
    _real_images(p)


def _check_vae(data: DataRef) -> None:
    """Refuses a run on latents whose samples nobody could decode in the end."""
    if data.vae is not None:
        from cabench.data import load_dataset
        from cabench.data.vae import VAE

        VAE(**load_dataset(data.source, **data.options).vae)


def _run(p: Prepared, console: Console) -> None:
    done = len({t.key for t in p.plan.trials}) - len(p.missing)
    expected = work(p)
    trials = sorted(p.missing, key=lambda t: -expected[t.key])  # the short ones fill the end
    where = p.options.ray_address or p.device
    side = "" if p.options.ray_address else f"{min(p.jobs, len(trials))} side by side "
    console.print(
        f"{p.told['study']} at scale {p.told['scale']}: {len(trials)} trials to run, "
        f"{done} done already, {side}on {where} ({p.executor})",
        soft_wrap=True,
    )
    names = {t.key: f"{t.arm}, seed {t.seed}" for t in trials}
    with Progress(console, names, expected) as view:
        if p.executor == "local":
            local.run(trials, p.store, p.device, view)
        else:
            from cabench.execution.executors import ray

            ray.run(trials, p.store, p.pool, p.device, view)
    console.print(view.tally.line() + "\n", soft_wrap=True)


def _search(p: Prepared, console: Console) -> dict[str, dict[str, Any]]:
    """Finds the learning rates, by arm; always on Ray Tune, which drives Optuna."""
    from cabench.execution.executors import ray

    tries = p.plan.file.study.tune.trials
    console.print(
        f"{p.told['study']}: searching the learning rates of {len(p.searches)} arms, {tries} "
        f"evaluations of {p.searches[0].images:,} images each",
        soft_wrap=True,
    )
    names = {s.key: s.arm for s in p.searches}
    with Progress(console, names, dict.fromkeys(names, 1.0), tries) as view:
        found = ray.search(p.searches, p.store, p.pool, p.device, view)
    console.print(view.tally.line("evaluations") + "\n", soft_wrap=True)
    return found


def _real_images(p: Prepared) -> None:
    """Write the sample grid of real images, unless an intact one exists."""
    path = p.store.beside(f"data-{p.plan.data.fingerprint[:16]}", SHEET)
    if not is_valid(path, is_intact):
        from cabench.execution.grids import write_real

        write_real(path, p.plan.data)


def work(p: Prepared) -> dict[str, float]:
    """Expected work of each missing trial in MACs, by key: for the time left."""
    macs = {}
    for arm in p.plan.arms:
        try:
            macs[arm] = meta_macs(p.plan.models[arm])["total"]
        except (Exception, SystemExit):  # its trials fail, and say why in their records
            macs[arm] = 1.0
    return {t.key: macs[t.arm] * evaluations(t) for t in p.missing}


def evaluations(trial: Trial) -> float:
    """Forward passes of one picture that a trial comes to; a training step counts as three."""
    sampling = trial.spec["sample"]
    passes = sum(1 if g == 1 else 2 for g in [trial.spec["guidance"], *trial.spec["sweep"]])
    return 3 * trial.spec["images"] + passes * sampling["n"] * sampling["steps"]
