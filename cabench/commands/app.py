"""The command line: a verb a function. Heavy libraries are imported inside the verbs."""

from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cabench.commands import completion
from cabench.commands.data_app import app as data_app
from cabench.errors import CabenchError, disk_fault, listed, near, one_line, shown
from cabench.version import __version__

UsageError = typer.BadParameter.__base__  # click's, which typer has under a name of its own

app = typer.Typer(
    name="cabench",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    help="Which way of telling a diffusion transformer its condition works best, at what cost, "
    "and how sure are we?",
)


app.add_typer(data_app, name="data")


def _folder(path: Path) -> Path:
    """A folder that is there or can be made."""
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise typer.BadParameter(f"a folder is wanted; {shown(str(place))} is a file")
    return path


def _file(path: Path | None) -> Path | None:
    """A file that can be written: its folder is there."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        found = "is a folder" if path.is_dir() else "lies in no folder that is there"
        raise typer.BadParameter(f"a file is wanted; {shown(str(path))} {found}")
    return path


def _only(context: typer.Context, allowed: tuple[str, ...], kind: str) -> None:
    """Refuses options of the command line that mean nothing for a study of this kind."""
    for option in context.command.params:
        source = context.get_parameter_source(option.name)
        if source is not None and source.name == "COMMANDLINE" and option.name not in allowed:
            names = [max(p.opts, key=len) for p in context.command.params if p.name in allowed[1:]]
            text = f"a study of kind '{kind}' trains nothing; its options: {listed(names)}"
            raise CabenchError(f"{max(option.opts, key=len)}: {text}")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= 10_000):
        raise typer.BadParameter(f"found {shown(text)}; a whole number from 1 to 10000 is wanted")
    return int(text)


StudyFile = Annotated[
    Path,
    typer.Argument(
        help="Study file, such as studies/layer_placement.yaml",
        autocompletion=completion.study_files,
    ),
]
ScaleName = Annotated[
    str,
    typer.Option(
        "--scale",
        help="smoke, quick, cpu, gpu, paper, paper-coco, or a YAML file of your own",
        autocompletion=completion.scales,
    ),
]
StudyName = Annotated[
    str,
    typer.Argument(
        help="A study that was run, such as layer_placement", autocompletion=completion.run_names
    ),
]
RunScale = Annotated[
    str | None,
    typer.Option(
        "--scale",
        help="Of those it was run at; default: the only one, else quick",
        autocompletion=completion.run_scales,
    ),
]
Target = Annotated[
    str,
    typer.Argument(help="[DIRECTORY/]STUDY[.SCALE][:ARM]", autocompletion=completion.targets),
]
Seeds = Annotated[
    str | None, typer.Option(help="How many seeds ('5'), or which ('0,1,7'); default: the scale's")
]
Plugins = Annotated[
    list[Path] | None, typer.Option(help="A Python file that registers a method or the like")
]
AllArms = Annotated[bool, typer.Option("--all-arms", help="Also the arms marked extra")]
Results = Annotated[
    Path, typer.Option(callback=_folder, help="Folder of records, tables and figures")
]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"cabench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    pass


@app.command()
def run(
    context: typer.Context,
    study: StudyFile,
    scale: ScaleName = "quick",
    seeds: Seeds = None,
    all_arms: AllArms = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print trials, cost and time, then stop")
    ] = False,
    arm: Annotated[
        list[str] | None, typer.Option(help="A further arm: '{NAME: {methods: [...]}}'")
    ] = None,
    plugin: Plugins = None,
    backbone: Annotated[
        str | None, typer.Option(help="Another of the study's backbones than the first")
    ] = None,
    executor: Annotated[
        str, typer.Option(help="ray, local (one trial at a time, in this process), or auto")
    ] = "auto",
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", help="A running Ray cluster: HOST:PORT or auto")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            parser=_count, metavar="N", help="Trials side by side; default: one per core or GPU"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed trials again")
    ] = False,
    use_reference: Annotated[
        bool, typer.Option("--use-reference", help="Let committed reference results stand in")
    ] = False,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            callback=lambda path: path and _folder(path),
            help="Also write curves and scores as TensorBoard event files",
        ),
    ] = None,
    results: Results = Path("results"),
    cache: Annotated[
        Path, typer.Option(callback=_folder, help="Checkpoints, samples, features")
    ] = Path(".cabench"),
) -> None:
    """Run a study: train, sample, score what is missing; then print the table and draw figures."""
    try:
        from cabench.commands.run import run_study
        from cabench.config.cost_study import kind_of
        from cabench.execution.run import Options

        options = Options(
            scale=scale,
            seeds=seeds,
            all_arms=all_arms,
            arms=tuple(arm or ()),
            plugins=tuple(plugin or ()),
            results=results,
            cache=cache,
            use_reference=use_reference,
            retry_failed=retry_failed,
            device=device,
            jobs=jobs,
            executor=executor,
            ray_address=ray_address,
            backbone=backbone,
        )
        if (kind := kind_of(study)) != "train":
            from cabench.commands.cost_study import run_cost

            _only(context, ("study", "dry_run", "arm", "plugin", "results"), kind)
            raise typer.Exit(run_cost(study, results, dry_run, arm or (), plugin or ()))
        code = run_study(study, options, dry_run=dry_run, tensorboard=tensorboard)
    except KeyboardInterrupt:
        typer.echo(
            "cabench: stopped; finished trials are kept, the same command goes on with the rest",
            err=True,
        )
        code = 130
    raise typer.Exit(code)


@app.command()
def status(results: Results = Path("results")) -> None:
    """What is done of each study that was run or planned here."""
    from cabench.commands.status import show_status

    show_status(results)


@app.command()
def compare(a: Target, b: Target, results: Results = Path("results")) -> None:
    """Two arms side by side, or two runs of a study: differences, cost, the same trials.

    Such as: layer_placement:can-3 layer_placement:native+dw, or
    results/layer_placement.quick results/reference/layer_placement.quick to check a reproduction.
    """
    from cabench.commands.compare import compare

    compare(a, b, results)


@app.command()
def tensorboard(
    study: StudyName,
    folder: Annotated[Path, typer.Argument(help="Where the event files go, as ARM/seed-S")],
    scale: RunScale = None,
    results: Results = Path("results"),
) -> None:
    """Write a study's curves and scores as TensorBoard event files."""
    from cabench.analysis.tensorboard import write_tensorboard
    from cabench.records.runs import find_run

    written = write_tensorboard(find_run(results, study, scale), folder)
    typer.echo(f"{written} trials in {folder}: tensorboard --logdir {folder}")


@app.command()
def report(
    study: StudyName,
    scale: RunScale = None,
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(callback=_folder, help="Folder for the report")] = Path(
        "reports"
    ),
) -> None:
    """Write a study's report: PDF, CSV and Markdown. Trains nothing, needs no GPU."""
    from cabench.commands.report import show_report

    show_report(study, scale, results, out)


@app.command()
def score(
    study: StudyName,
    scale: RunScale = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated, such as kid,precision_lite0,fid_inception (`cabench list`); "
            "default: the run's own"
        ),
    ] = None,
    clip: Annotated[
        str | None, typer.Option(help="Of clip_score: a folder of transformers, or a hub name")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            callback=lambda path: path and _folder(path),
            help="Also write the features of all samples here, as npz",
        ),
    ] = None,
    plugin: Plugins = None,
    results: Results = Path("results"),
    cache: Annotated[
        Path, typer.Option(callback=_folder, help="Where the run's samples are")
    ] = Path(".cabench"),
) -> None:
    """Score a run's saved samples with other metrics or feature extractors. Trains nothing."""
    from cabench.commands.score import show_scores

    show_scores(study, scale, metrics, results, cache, features, clip, plugin or ())


@app.command()
def audit(
    data: Annotated[str, typer.Argument(help="A data set (`cabench list`)")] = "fashion16",
    n: Annotated[int | None, typer.Option(min=1, help="Images per set")] = None,
    sets: Annotated[int, typer.Option(help="Sets of real images")] = 8,
    metrics: Annotated[str | None, typer.Option(help="Comma-separated; default: the usual")] = None,
    cache: Annotated[Path, typer.Option(callback=_folder, help="Cached features")] = Path(
        ".cabench"
    ),
    out: Annotated[Path, typer.Option(callback=_folder, help="Folder for the matrix")] = Path(
        "reports"
    ),
) -> None:
    """Measure each metric on corrupted real images: blur, noise, missing classes, ..."""
    from cabench.commands.audit import show_audit

    raise typer.Exit(show_audit(data, n, sets, metrics, cache, out))


@app.command("list")
def list_() -> None:
    """Studies, scales, backbones, methods, data sets and metrics that are known."""
    from cabench.commands.list import show_known

    show_known()


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(help="study, cost or scale")],
    plugin: Plugins = None,
) -> None:
    """Print the JSON schema of study, cost study or scale files, for editors."""
    from cabench.commands.schema import show_schema

    show_schema(kind, plugin or [])


@app.command()
def macs(
    csv: Annotated[
        Path | None, typer.Option(callback=_file, help="Also write the table here")
    ] = None,
    pdf: Annotated[
        Path | None, typer.Option(callback=_file, help="Also write it as a page here")
    ] = None,
) -> None:
    """Parameters and MACs of published models, beside the published figures."""
    from cabench.commands.macs import show_published

    raise typer.Exit(show_published(csv, pdf))


def main() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a log file shows each trial as it ends; an ASCII terminal gets escapes
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    completion.join_colons(os.environ)
    told = logging.StreamHandler()
    told.setFormatter(logging.Formatter("cabench: %(message)s"))
    told.addFilter(_Once())
    completing = "_CABENCH_COMPLETE" in os.environ  # then nothing but words may be printed
    logging.getLogger("cabench").handlers = [logging.NullHandler() if completing else told]
    words = sys.argv[1:] or ["--help"]
    try:
        code = app(words, prog_name="cabench", standalone_mode=False)
    except UsageError as error:
        _stop(_usage(error))
    except CabenchError as error:
        _stop(str(error))
    except typer.Abort:
        code = 130
    except OSError as error:  # a full disk, a folder without permission
        _stop(disk_fault(error, goes_on=words[0] == "run"))
    sys.exit(code)


class _Once(logging.Filter):
    """No line twice: a verb may come by the same damaged file again."""

    def __init__(self) -> None:
        super().__init__()
        self.told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = text not in self.told
        self.told.add(text)
        return new


def _usage(error: Any) -> str:
    """'--sedes: no such option (did you mean '--seeds'?); see cabench run --help'."""
    verb, words = getattr(error.ctx, "command_path", "cabench"), error.format_message()
    command = getattr(error.ctx, "command", None)
    text = error.message[:1].lower() + error.message[1:]
    if hasattr(error, "possibilities"):
        options = [name for option in command.params for name in option.opts]
        text = f"{error.option_name}: no such option{near(error.option_name, options)}"
    elif (param := getattr(error, "param", None)) is not None:
        name = max(param.opts, key=len) if param.opts[0].startswith("-") else param.name.upper()
        text = f"{name}: {text}" if text else f"{name} is missing"
    elif hasattr(command, "commands") and "command" in words:
        told = [w for w in sys.argv[1:] if not w.startswith("-")]
        found = next(iter(told[len(verb.split()) - 1 :]), "")
        verbs = [*command.commands]
        text = f"no such verb {shown(found)}{near(found, verbs)}; verbs: {listed(verbs)}"
    return f"{text.rstrip('.')}; see {verb} --help"


def _stop(text: str) -> None:
    print(f"cabench: {one_line(text)}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
