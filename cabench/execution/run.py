"""Prepare a run (plan, missing searches and trials), then execute it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from cabench.config.scale import Scale
from cabench.config.schema import Study
from cabench.config.seeds import parse_seeds
from cabench.config.study import ScaleFile, read_scale, read_study, with_run_options
from cabench.data.reading import parse_options
from cabench.diffusion import ranks
from cabench.errors import CabenchError, DataMissing, near, plural, shown, unknown
from cabench.execution import preflight, processes
from cabench.execution.compiling import uncompiled
from cabench.execution.earlier import design, earlier_runs, in_order, seen_seeds
from cabench.execution.executors import local
from cabench.execution.executors.base import Pool
from cabench.execution.interim import Interim
from cabench.execution.progress import Progress, together
from cabench.execution.real_images import beside
from cabench.execution.remaining import Remaining, what_remains
from cabench.execution.schedule import stacked, work
from cabench.models import kernel_forms
from cabench.planning import own_backbone, own_data
from cabench.planning.trials import Plan, Trial, manifest, plan
from cabench.plugins import load_plugins, read_plugins
from cabench.records.runs import OWN_SCALE, Run
from cabench.records.sample_grid import is_intact
from cabench.records.schema import Manifest, SearchOutcome
from cabench.records.store import SHEET, Store, reference
from cabench.registry import DATASETS
from cabench.runtime.cache import CACHE
from cabench.runtime.console import screen
from cabench.runtime.cores import cores
from cabench.runtime.devices import limit_memory, pick_device
from cabench.runtime.files import LOG, atomic_path, write_json
from cabench.runtime.sealed import is_valid

EXECUTORS = ("auto", "local", "ray")
ADDRESS = re.compile(r"auto|([\w.-]+|\[[\w.:%]+\]):\d{1,5}")  # of a Ray cluster


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line adds to the study."""

    # fmt: off
    scale: str = "quick"
    data: str | None = None         # a data set instead of the scale's
    data_options: tuple[str, ...] = ()  # of that data set, KEY=VALUE
    settings: tuple[str, ...] = ()  # values of the scale to replace: 'training.lr=1e-3'
    seeds: str | None = None        # '5', '0,1,7' or '10-12'; None: the scale's
    all_arms: bool = False          # also those marked extra
    arms: tuple[str, ...] = ()      # further arms, as YAML
    against: str | None = None      # the arm that these are compared with; None: the baseline
    backbone: str | None = None     # one of the study's, or a plugin's; None: the study's first
    plugins: tuple[Path, ...] = ()
    results: Path = Path("results")
    cache: Path = CACHE
    use_reference: bool = False     # committed results may stand in for missing ones
    retry_failed: bool = False
    device: str = "auto"
    jobs: int | None = None         # trials side by side
    executor: str = "auto"
    ray_address: str | None = None
    until_resolved: bool = False    # seeds are added while claims are open
    max_seeds: int | None = None    # of an arm; None: the study's
    suffix: str = ""                # of the study's name: a run with a manifest of its own
    # fmt: on


@dataclass(frozen=True)
class Prepared:
    """A run before its first trial; `plan` has the learning rates that are known."""

    options: Options
    plan: Plan
    store: Store
    device: str
    remaining: Remaining
    earlier: tuple[Manifest, ...] = ()  # runs of the study whose results could be seen
    own_scale: Scale | None = None  # the scale as changed by --data; written beside the manifest

    @property
    def manifest(self) -> Manifest:
        return manifest(
            self.plan,
            scale_file=str(self.scale_path) if self.own_scale else self.options.scale,
            use_reference=self.options.use_reference,
            design=design(self.plan, self.earlier, self.options.until_resolved),
        )

    @property
    def run(self) -> Run:
        """The run as its records stand now."""
        return Run(self.manifest, self.store)

    @property
    def folder(self) -> Path:
        return self.store.study_folder(self.plan.study.study, self.plan.scale.scale)

    @property
    def manifest_path(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def scale_path(self) -> Path:
        """Where a run on other data than the scale's keeps its scale."""
        return self.folder / OWN_SCALE

    @property
    def executor(self) -> str:
        """'ray' where trials can run side by side, else 'local'."""
        if self.options.executor != "auto":
            return self.options.executor
        if self.options.ray_address is not None:
            return "ray"
        if ranks.from_torchrun() is not None:
            return "local"
        return "ray" if min(self.jobs, len(self.remaining.trials)) > 1 else "local"

    @property
    def jobs(self) -> int:
        """Trials side by side on this machine: --jobs, else one per core or GPU."""
        if self.options.executor == "local" or ranks.from_torchrun() is not None:
            return 1
        if self.options.jobs is not None:
            return self.options.jobs
        if not has_ray():
            return 1
        resources = self.plan.scale.resources
        if self.device == "cpu":
            return max(1, cores() // (resources.cpus * self.ranks))
        if self.device == "cuda":
            import torch

            return max(1, int(torch.cuda.device_count() / (resources.gpus or 1)))
        return 1

    @property
    def ranks(self) -> int:
        """Processes that share a trial."""
        return processes.of_trial(self.plan.scale, self.device)

    @property
    def pool(self) -> Pool:
        resources = self.plan.scale.resources
        gpus = 0.0 if self.device in ("cpu", "mps") else resources.gpus
        jobs = self.options.jobs if self.options.ray_address else self.jobs
        cpus = resources.cpus * self.ranks
        memory = processes.memory(self.plan, self.device)
        return Pool(jobs, cpus, gpus, self.ranks, memory, self.options.ray_address)


# ---- preparing ----------------------------------------------------------------------------------


def prepare(
    study: Path, options: Options, further_seeds: Mapping[str, Sequence[int]] | None = None
) -> Prepared:
    """Plan the study and find what remains to be done.

    Trains nothing, and writes nothing but decoded images, to the cache.
    `further_seeds` are those that later looks added, by arm.
    """
    _check_executor(options)
    plugins = tuple(read_plugins(options.plugins))
    load_plugins(plugins)
    seeds = None if options.seeds is None else parse_seeds(options.seeds)
    further = own_backbone.plugin_backbones()
    file = read_study(study, options.arms, options.backbone, options.against, further)
    scale_file = own_backbone.with_size(read_scale(options.scale, options.settings), file)
    file = with_run_options(file, options.max_seeds, options.suffix)
    own_scale = None
    if options.data is not None:
        if options.settings:
            how = "write a scale with `cabench data check ... --write-scale FILE` and set it there"
            raise CabenchError(f"--data: cannot be combined with --set; {how}")
        scale_file = on_own_data(file.study, scale_file, options.data, options.data_options)
        own_scale = scale_file.scale
    scale = scale_file.scale
    earlier = earlier_runs(options.results, file.study.study, scale.scale)
    seen = seen_seeds(earlier)
    if seeds is None:
        first = seen if options.until_resolved else []  # none that was seen may be left out
        seeds = list(dict.fromkeys([*first, *range(scale.seeds)]))[: scale.seeds]
    seeds = in_order(seeds, seen)
    cluster = options.ray_address is not None
    if cluster and options.device == "auto":  # the nodes decide
        device = "cuda" if scale_file.scale.resources.gpus else "cpu"
    else:
        device = pick_device(options.device)
    planned = plan(
        file,
        scale_file,
        seeds,
        further_seeds=further_seeds,
        all_arms=options.all_arms,
        plugins=plugins,
        kernels=kernel_forms.overrides(os.environ.get(kernel_forms.VARIABLE, "")),
        compiles=processes.compiles(scale, device, cluster),
        on_gpu=device.startswith("cuda"),
    )
    processes.check(planned, device, cluster)
    store = Store(options.results, options.cache, reference() if options.use_reference else None)
    planned, remaining = what_remains(planned, store, options.retry_failed)
    return Prepared(options, planned, store, device, remaining, tuple(earlier), own_scale)


def on_own_data(
    study: Study, scale_file: ScaleFile, source: str, texts: Sequence[str]
) -> ScaleFile:
    """The scale on a data set of the command line; logs what the data does not allow."""
    if source not in DATASETS:
        raise CabenchError(f"--data: {unknown('data set', source, DATASETS.names())}")
    options = parse_options(source, texts)
    own, lines = own_data.for_study(study, scale_file, source, options)
    for line in lines:
        LOG.warning("--data %s: %s", source, line)
    return own


NEED_RAY = "need the library 'ray': pip install 'ray[tune]'"


def has_ray() -> bool:
    """Whether Ray is installed; without it trials run one at a time."""
    return find_spec("ray") is not None


def _check_executor(options: Options) -> None:
    address = options.ray_address
    if options.executor not in EXECUTORS:
        raise CabenchError(
            f"--executor: expected {', '.join(EXECUTORS)}, got {shown(options.executor)}"
            f"{near(options.executor, EXECUTORS)}"
        )
    if options.executor == "local" and (options.jobs or 1) > 1:
        raise CabenchError(
            f"--jobs: the local executor runs one trial at a time, got {options.jobs}"
        )
    side_by_side = options.executor == "ray" or address is not None or (options.jobs or 1) > 1
    if side_by_side and not has_ray():
        raise CabenchError(f"--executor: trials side by side {NEED_RAY}")
    if ranks.from_torchrun() and (options.executor == "ray" or address is not None):
        raise CabenchError("--executor: expected local or auto under torchrun, got ray")
    if options.executor == "local" and address is not None:
        raise CabenchError("--ray-address: the local executor uses no cluster")
    if address is not None and not ADDRESS.fullmatch(address):
        raise CabenchError(
            f"--ray-address: expected HOST:PORT, [IPV6]:PORT or auto, got {shown(address)}"
        )


# ---- executing ----------------------------------------------------------------------------------


def execute(prepared: Prepared) -> Prepared:
    """Run what remains; return the run with the learning rates that were used.

    When it returns, every trial has a record and the manifest is written.
    """
    if prepared.plan.data.missing:
        raise DataMissing(prepared.plan.data.missing)
    prepared.store.check_folders()
    console = screen()
    preflight.check(prepared.plan, prepared.remaining.arms, prepared.store.cache)
    if prepared.remaining.searches:
        outcomes = _search(prepared, console)
        planned, remaining = what_remains(
            prepared.plan, prepared.store, prepared.options.retry_failed, outcomes
        )
        prepared = dataclasses.replace(prepared, plan=planned, remaining=remaining)
    if prepared.own_scale is not None:
        with atomic_path(prepared.scale_path) as part:
            part.write_text(own_data.as_yaml(prepared.own_scale), "utf-8")
    write_json(prepared.manifest_path, prepared.manifest.dump())
    prepared.store.sweep()
    if prepared.remaining.trials:
        _run(prepared, console)
    _write_real_images(prepared)
    return prepared


def _run(prepared: Prepared, console: Console) -> None:
    missing = prepared.remaining.trials
    done = len({trial.key for trial in prepared.plan.all_trials}) - len(missing)
    address = prepared.options.ray_address
    jobs = 1 if address else prepared.jobs
    trials = stacked(missing, prepared.plan.scale.training.stack, jobs)
    expected = work(prepared.plan, trials)
    # A longer training continues a shorter one; the first of a stack trains it; of equal ones,
    # quick ones fill the end
    trials.sort(key=lambda t: (t.spec.images, -len(t.beside), -expected[t.key]))
    each = f", {prepared.ranks} processes each" if prepared.ranks > 1 else ""
    side = "" if address else f"{together(min(jobs, len(trials)))} "
    console.print(
        f"{prepared.plan.study.study} at scale {prepared.plan.scale.scale}: "
        f"{plural(len(trials), 'trial')} to run, {done} done already, {side}on "
        f"{address or prepared.device} ({prepared.executor}){each}",
        soft_wrap=True,
    )
    if prepared.options.executor == "auto" and not has_ray() and len(trials) > 1:
        console.print("one trial at a time: Ray is not installed", soft_wrap=True)
    for text in uncompiled(prepared.plan, trials, prepared.device, bool(address)):
        console.print(text, soft_wrap=True)
    names = {trial.key: trial_name(trial, prepared.plan) for trial in trials}
    interim = Interim(prepared.run.manifest, prepared.run.records().values())
    metrics = _judged_by(prepared.plan)
    elsewhere = address is not None or ranks.from_torchrun() is not None
    elsewhere |= prepared.device != "cpu"  # a GPU computes features of its own
    with (
        Progress(console, names, expected, metrics=metrics, interim=interim.add) as view,
        contextlib.nullcontext() if elsewhere else beside(prepared.plan, trials[0], prepared.store),
    ):
        if prepared.executor == "local":
            limit_memory(prepared.device, prepared.plan.scale.resources.gpus)
            local.run(trials, prepared.store, prepared.device, view.receive, prepared.ranks)
        else:
            view.start(_workers(address, min(jobs, len(trials))))
            from cabench.execution.executors import ray

            ray.run(trials, prepared.store, prepared.pool, prepared.device, view.receive)
    console.print(view.usage.line("trial") + "\n", soft_wrap=True)


def _workers(address: str | None, count: int) -> str:
    """What Ray starts: '2 workers', or those of a cluster."""
    return f"workers on {address}" if address else plural(count, "worker")


def _judged_by(planned: Plan) -> list[str]:
    """The metrics of the primary and of the claims, as scores are named."""
    names = [planned.study.primary]
    for claim in planned.study.claims:
        names += claim.metric if isinstance(claim.metric, list) else [claim.metric]
    return list(dict.fromkeys(names))


def trial_name(trial: Trial, planned: Plan) -> str:
    """'can-3, seed 0', and its images where the plan has several lengths."""
    length = f", {trial.spec.images:,} images" if len(planned.lengths) > 1 else ""
    return f"{trial.arm}, seed {trial.seed}{length}"


def _search(prepared: Prepared, console: Console) -> dict[str, SearchOutcome]:
    """Run the missing searches, always on Ray; return their outcomes by arm."""
    if not has_ray():
        raise CabenchError(f"`tune`: searches of learning rates {NEED_RAY}")
    missing = prepared.remaining.searches
    arms, evaluations = plural(len(missing), "arm"), missing[0].options.trials
    console.print(
        f"{prepared.plan.study.study}: searching the learning rates of {arms}, "
        f"{plural(evaluations, 'evaluation')} of {missing[0].images:,} images each",
        soft_wrap=True,
    )
    names = {search.key: search.arm for search in missing}
    address = prepared.options.ray_address
    with Progress(console, names, dict.fromkeys(names, 1.0), evaluations) as view:
        view.start(_workers(address, prepared.jobs))
        from cabench.execution.executors import ray

        outcomes = ray.search(missing, prepared.store, prepared.pool, prepared.device, view.receive)
    console.print(view.usage.line("evaluation") + "\n", soft_wrap=True)
    return outcomes


def _write_real_images(prepared: Prepared) -> None:
    """Write the sample grid of real images, unless an intact one exists."""
    data = prepared.plan.data
    path = prepared.store.beside(f"data-{(data.fingerprint or '')[:16]}", SHEET)
    if not is_valid(path, is_intact):
        from cabench.execution.grids import write_real

        write_real(path, data)
