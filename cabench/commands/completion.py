"""Shell completion of study files, scales, runs and arms. Imports little and never fails.

A callback takes typer's context and the word so far; typer keeps what starts with that word.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, MutableMapping
from functools import wraps
from importlib import resources
from pathlib import Path

import typer

COLON = "_CABENCH_COLON"  # the part before the colon of the word that bash split

Complete = Callable[[typer.Context, str], list[str]]


def quietly(complete: Complete) -> Complete:
    """Return no completions on any error: a traceback would fill the prompt."""

    @wraps(complete)
    def safe(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            return sorted(set(complete(ctx, incomplete)))
        except Exception:
            return []

    return safe


@quietly
def study_files(ctx: typer.Context, incomplete: str) -> list[str]:
    """The names of studies, and YAML files that start with the word."""
    from cabench.config.files import studies

    return [*studies(), *glob.glob(glob.escape(incomplete) + "*.yaml")]


@quietly
def scales(ctx: typer.Context, incomplete: str) -> list[str]:
    """Scales of the package, and YAML files that start with the word."""
    folder = resources.files("cabench.config") / "scales"
    names = [Path(p.name).stem for p in folder.iterdir() if p.name.endswith(".yaml")]
    return names + (glob.glob(glob.escape(incomplete) + "*.yaml") if incomplete else [])


@quietly
def run_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Studies that were run or planned, by name."""
    return _names(_results(ctx), incomplete)


@quietly
def run_scales(ctx: typer.Context, incomplete: str) -> list[str]:
    """Scales at which the study was run or planned."""
    from cabench.records.runs import all_runs

    # before `--scale` has its value, the words are not parsed into parameters
    study = ctx.params.get("study") or next(iter(ctx.args), None)
    manifests = [run.manifest for run in all_runs(_results(ctx))]
    return [m.scale for m in manifests if study in (None, m.study, m.study_file)]


@quietly
def targets(ctx: typer.Context, incomplete: str) -> list[str]:
    """[DIRECTORY/]STUDY[.SCALE], then :ARM once there is a colon."""
    from cabench.records.runs import find_run

    before = os.environ.get(COLON, "")
    path, colon, _ = (before + incomplete).rpartition(":")
    folder, slash, study = (path.rstrip("/") if colon else incomplete).rpartition("/")
    results = Path(folder or "/") if slash else _results(ctx)
    if colon:
        arms = {trial.arm for trial in find_run(results, study).manifest.trials}
        return [f"{path}:{arm}".removeprefix(before) for arm in arms]
    return [folder + slash + name for name in _names(results, study)]


def _results(ctx: typer.Context) -> Path:
    return Path(ctx.params.get("results") or "results")


def _names(results: Path, word: str) -> list[str]:
    """STUDY, and STUDY.SCALE if there are several scales or the word has reached the dot."""
    from cabench.records.runs import all_runs

    runs = all_runs(results)
    studies = [run.manifest.study for run in runs]
    exact = [r.name for r, s in zip(runs, studies, strict=True) if _needs_scale(s, studies, word)]
    return studies + exact


def _needs_scale(study: str, studies: list[str], word: str) -> bool:
    """Whether STUDY.SCALE is offered: several scales, or the word has reached the dot."""
    return studies.count(study) > 1 or word.startswith(f"{study}.")


def join_colons(environ: MutableMapping[str, str]) -> None:
    """Join the words that bash splits at colons: 'a:b' arrives as 'a', ':', 'b'.

    The last word stays split, since bash replaces only what follows the colon; the part before it
    goes to `COLON`.
    """
    if environ.get("_CABENCH_COMPLETE") != "complete_bash":
        return
    words, last = environ.get("COMP_WORDS", "").split(), int(environ.get("COMP_CWORD", 0))
    words = [*words, ""][: last + 1]  # up to the cursor
    *before, current = re.sub(" ?: ?", ":", " ".join(words)).split(" ")
    prefix, colon, current = current.rpartition(":")
    environ["COMP_WORDS"] = " ".join([*before, current])
    environ["COMP_CWORD"] = str(len(before))
    environ[COLON] = prefix + colon
