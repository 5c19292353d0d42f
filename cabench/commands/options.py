"""Arguments and options that several commands share. Imports nothing heavy."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Annotated, Literal

import typer

from cabench.commands import completion
from cabench.errors import CabenchError, listed, shown
from cabench.runtime.cache import CACHE as CACHE
from cabench.runtime.cache import RESULTS as RESULTS
from cabench.runtime.cache import cache_at
from cabench.runtime.files import no_folder

MOST_JOBS = 10_000
REPORTS = Path("reports")


def directory(path: Path | None) -> Path | None:
    """A directory that exists or can be created."""
    if path is not None and (problem := no_folder(path)) is not None:
        raise typer.BadParameter(problem)
    return path


def cache_directory(context: typer.Context, path: Path) -> Path:
    """A directory as `directory`, where data sets are decoded while the command runs."""
    context.with_resource(cache_at(path))
    return typing.cast(Path, directory(path))


def output_file(path: Path | None) -> Path | None:
    """A file that can be written."""
    if path is None:
        return None
    if path.is_dir():
        raise typer.BadParameter(f"expected a file, but {shown(str(path))} is a directory")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"the parent directory of {shown(str(path))} does not exist")
    return path


def count(text: str) -> int:
    """A positive integer of the command line; BadParameter otherwise."""
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= MOST_JOBS):
        raise typer.BadParameter(f"expected an integer from 1 to {MOST_JOBS}, got {shown(text)}")
    return int(text)


def duration(text: str) -> float:
    """Seconds of '90s', '30m', '1.5h'; BadParameter otherwise."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)([smh])", text)
    if match is None or not float(match[1]):
        raise typer.BadParameter(f"expected a time such as 90s, 30m or 2h, got {shown(text)}")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def only(context: typer.Context, allowed: tuple[str, ...], why: str) -> None:
    """Refuse given options that are not allowed, for the reason `why`; arguments are allowed."""
    options = [p for p in context.command.params if p.param_type_name == "option"]
    names = [max(p.opts, key=len) for p in options if p.name in allowed]
    for option in options:
        source = context.get_parameter_source(option.name or "")
        if source is not None and source.name == "COMMANDLINE" and option.name not in allowed:
            text = f"{why}; its options: {listed(names)}"
            raise CabenchError(f"{max(option.opts, key=len)}: {text}")


StudyFile = Annotated[
    Path,
    typer.Argument(
        help="A study by its name, such as layer_placement, or its YAML file",
        autocompletion=completion.study_files,
    ),
]
ScaleName = Annotated[
    str,
    typer.Option(
        "--scale",
        help="smoke, quick, cpu, gpu, paper, paper-coco, or a YAML file",
        autocompletion=completion.scales,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Replace a value of the scale, such as training.lr=1e-3; repeatable",
    ),
]
StudyName = Annotated[
    str,
    typer.Argument(
        help="A study that was run, such as layer_placement", autocompletion=completion.run_names
    ),
]
AnyStudyName = Annotated[
    str | None,
    typer.Argument(help="A study that was run", autocompletion=completion.run_names),
]
RunScale = Annotated[
    str | None,
    typer.Option(
        "--scale",
        help="Scale of the run; default: the only one, else quick",
        autocompletion=completion.run_scales,
    ),
]
Target = Annotated[
    str,
    typer.Argument(help="[DIRECTORY/]STUDY[.SCALE][:ARM]", autocompletion=completion.targets),
]
DataName = Annotated[
    str | None,
    typer.Option("--data", help="Data set instead of the scale's; with options -o KEY=VALUE"),
]
DataOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        help="Option of the data set, KEY=VALUE: -o path=DIR -o flip=true; repeatable",
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option(help="Number of seeds (5), or seeds (0,1,7 or 10-12 or 5,); default: the scale's"),
]
UntilResolved = Annotated[
    bool,
    typer.Option(
        "--until-resolved", help="Add seeds to the arms of open claims, as the study's rule says"
    ),
]
MaxSeeds = Annotated[
    int | None,
    typer.Option(
        parser=count, metavar="N", help="--until-resolved: most seeds of an arm; default: study's"
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        parser=duration,
        metavar="TIME",
        help="--until-resolved: stop before a look that would exceed it",
    ),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(help="Python file that registers a method, metric, ...; repeatable"),
]
Arms = Annotated[
    list[str] | None,
    typer.Option(help="Further arm, as YAML: '{NAME: {methods: [...]}}'; repeatable"),
]
Against = Annotated[
    str | None,
    typer.Option(help="The arm that added arms are compared with; default: the baseline"),
]
AllArms = Annotated[bool, typer.Option("--all-arms", help="Include arms marked extra")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print trials, cost and time, then stop")]
Backbone = Annotated[
    str | None,
    typer.Option(help="One of the study's backbones, or a plugin's; default: the study's first"),
]
Executor = Annotated[
    str, typer.Option(help="ray, local (one trial at a time, in this process), or auto")
]
RayAddress = Annotated[
    str | None, typer.Option("--ray-address", help="A running Ray cluster: HOST:PORT or auto")
]
Jobs = Annotated[
    int | None,
    typer.Option(
        parser=count, metavar="N", help="Trials side by side; default: one per core or GPU"
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Run failed trials again")]
UseReference = Annotated[
    bool, typer.Option("--use-reference", help="Count committed reference results as done")
]
Tracker = Annotated[
    str,
    typer.Argument(
        help="tensorboard, wandb or mlflow",
        autocompletion=lambda: ["mlflow", "tensorboard", "wandb"],
    ),
]
Logs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TRACKER[=DIR]",
        help="Also write curves, scores and samples for tensorboard, wandb or mlflow (repeatable)",
    ),
]
Results = Annotated[
    Path, typer.Option(callback=directory, help="Directory of records, tables and figures")
]
Cache = Annotated[
    Path,
    typer.Option(callback=cache_directory, help="Directory of checkpoints, samples and features"),
]
Reports = Annotated[Path, typer.Option(callback=directory, help="Output directory")]
ReportFormat = Annotated[
    Literal["pdf", "tex"],
    typer.Option("--format", help="pdf: the report. tex: its tables for a LaTeX document"),
]
