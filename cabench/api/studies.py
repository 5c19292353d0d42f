"""Run a study from Python: what `cabench run` does, with exceptions and results in return."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cabench.analysis.outputs import write_outputs
from cabench.analysis.study_results import StudyResults
from cabench.config.cost_study import kind_of
from cabench.config.files import study_path
from cabench.errors import CabenchError
from cabench.execution.looks import run_until_resolved
from cabench.execution.run import Options, execute, prepare
from cabench.runtime.cache import CACHE, cache_at


def run_study(
    study: str | Path,
    *,
    scale: str | Path = "quick",
    seeds: int | Iterable[int] | None = None,
    arms: Mapping[str, Mapping[str, Any]] | None = None,
    all_arms: bool = False,
    against: str | None = None,
    backbone: str | None = None,
    data: str | None = None,
    data_options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    plugins: Iterable[str | Path] = (),
    until_resolved: bool = False,
    max_seeds: int | None = None,
    budget: float | None = None,
    use_reference: bool = False,
    retry_failed: bool = False,
    results: str | Path = "results",
    cache: str | Path = CACHE,
    executor: str = "auto",
    ray_address: str | None = None,
    jobs: int | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> StudyResults:
    """Run a study's missing trials (train, sample, score) and return its results.

    Like `cabench run`: finished trials are not run again, and an interrupted call resumes where it
    stopped. Table, figures and sample grids are written to `results`/STUDY.SCALE.

    Args:
        study: a study file, or its name: that of a file in `studies/`, else of one of cabench.
        scale: a scale by name, or a file.
        seeds: how many seeds, or the seeds themselves. Default: the scale's.
        arms: further arms: {"native+lora": {"methods": ["native", "lora"]}}.
        all_arms: also run arms marked `extra`.
        against: the arm that further arms are compared with. Default: the baseline.
        backbone: one of the study's, or a plugin's. Default: the study's first.
        data: a data set instead of the scale's.
        data_options: of that data set: {"path": "images", "size": 16}.
        settings: values of the scale to replace: {"training.lr": 1e-3}.
        plugins: Python files that register methods, metrics, ...
        until_resolved: add seeds to the arms of open claims, as the study's rule says.
        max_seeds: seeds of an arm at most; with `until_resolved`.
        budget: seconds; stop before a look that would exceed it. With `until_resolved`.
        use_reference: count the committed results as done.
        retry_failed: run failed trials again.
        results: the directory of records, tables and figures.
        cache: the directory of checkpoints, samples and features.
        executor: "ray", "local" (one trial at a time, in this process), or "auto".
        ray_address: a running Ray cluster, "HOST:PORT" or "auto".
        jobs: trials side by side. Default: one per core or GPU.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        quiet: print nothing.

    Raises:
        CabenchError: an error in a study, a scale or an argument; the message is one line.
            `ConfigError` has the file and the line, `DataMissing` says what is absent.
        KeyboardInterrupt: finished trials are kept.

    Warns:
        UserWarning: a trial failed; `failures` of the results has the errors.

    Example:
        >>> results = cabench.run_study("layer_placement", scale="smoke", seeds=1)
        >>> results.comparison
    """
    path = study_path(study)
    if (kind := kind_of(path)) != "train":
        raise CabenchError(f"{path}: a study of kind '{kind}' trains nothing; use `cabench run`")
    if not until_resolved and (max_seeds is not None or budget is not None):
        raise CabenchError("max_seeds, budget: expected with until_resolved only")
    if data_options and data is None:
        raise CabenchError("data_options: expected with data only, whose options these are")
    options = Options(
        scale=str(scale),
        seeds=_seeds(seeds),
        arms=tuple(json.dumps({name: arm}) for name, arm in (arms or {}).items()),
        all_arms=all_arms,
        against=against,
        backbone=backbone,
        data=data,
        data_options=_assignments(data_options),
        settings=_assignments(settings),
        plugins=tuple(map(Path, plugins)),
        until_resolved=until_resolved,
        max_seeds=max_seeds,
        use_reference=use_reference,
        retry_failed=retry_failed,
        results=Path(results),
        cache=Path(cache),
        executor=executor,
        ray_address=ray_address,
        jobs=jobs,
        device=device,
    )
    with cache_at(options.cache), _silence() if quiet else contextlib.nullcontext():
        prepared = prepare(path, options)
        if until_resolved:
            prepared = run_until_resolved(path, prepared, budget)
        else:
            prepared = execute(prepared)
        outcome = StudyResults.of(prepared.run)
        write_outputs(outcome.results, prepared.run.store)
    for failure in outcome.failures:
        warnings.warn(f"{outcome.name}: failed: {failure}", stacklevel=2)
    return outcome


def _seeds(seeds: int | Iterable[int] | None) -> str | None:
    """Seeds as `--seeds` takes them; '5,' is the seed 5 alone."""
    if seeds is None or isinstance(seeds, str | int):
        return None if seeds is None else str(seeds)
    return ",".join(map(str, seeds)) + ","


def _assignments(values: Mapping[str, Any] | None) -> tuple[str, ...]:
    """KEY=VALUE, as the command line takes them."""
    return tuple(
        f"{key}={value if isinstance(value, str | Path) else json.dumps(value)}"
        for key, value in (values or {}).items()
    )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
