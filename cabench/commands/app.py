"""The command line. Heavy libraries are imported inside the commands."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cabench.commands import completion, options
from cabench.commands.data_app import app as data_app
from cabench.commands.plugin_app import app as plugin_app
from cabench.errors import CabenchError, disk_fault, listed, near, one_line, shown
from cabench.runtime.cache import CACHE
from cabench.runtime.signals import exit_code, stop_on_signals
from cabench.version import __version__

RESULTS, REPORTS = Path("results"), Path("reports")

app = typer.Typer(
    name="cabench",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    help="Benchmark and ablate conditioning methods for diffusion transformers.",
)
app.add_typer(data_app, name="data")
app.add_typer(plugin_app, name="plugin")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"cabench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version"),
    ] = False,
) -> None:
    pass


@app.command()
def run(
    context: typer.Context,
    study: options.StudyFile,
    scale: options.ScaleName = "quick",
    data: options.DataName = None,
    option: options.DataOptions = None,
    settings: options.Settings = None,
    seeds: options.Seeds = None,
    until_resolved: options.UntilResolved = False,
    max_seeds: options.MaxSeeds = None,
    budget: options.Budget = None,
    all_arms: options.AllArms = False,
    dry_run: options.DryRun = False,
    arm: options.Arms = None,
    against: options.Against = None,
    plugin: options.Plugins = None,
    backbone: options.Backbone = None,
    executor: options.Executor = "auto",
    ray_address: options.RayAddress = None,
    jobs: options.Jobs = None,
    device: options.Device = "auto",
    retry_failed: options.RetryFailed = False,
    use_reference: options.UseReference = False,
    tensorboard: options.Tensorboard = None,
    results: options.Results = RESULTS,
    cache: options.Cache = CACHE,
) -> None:
    """Run a study's missing trials (train, sample, score); print its table, draw its figures."""
    try:
        from cabench.config.cost_study import kind_of

        if (kind := kind_of(study)) != "train":
            from cabench.commands.cost_study import run_cost

            options.only(context, ("dry_run", "arm", "plugin", "results"), kind)
            raise typer.Exit(run_cost(study, results, dry_run, arm or (), plugin or ()))
        from cabench.commands.run import run_study
        from cabench.execution.run import Options

        chosen = Options(
            scale=scale,
            data=data,
            data_options=tuple(option or ()),
            settings=tuple(settings or ()),
            seeds=seeds,
            all_arms=all_arms,
            arms=tuple(arm or ()),
            against=against,
            backbone=backbone,
            plugins=tuple(plugin or ()),
            results=results,
            cache=cache,
            use_reference=use_reference,
            retry_failed=retry_failed,
            device=device,
            jobs=jobs,
            executor=executor,
            ray_address=ray_address,
            until_resolved=until_resolved,
            max_seeds=max_seeds,
        )
        if not until_resolved and (max_seeds is not None or budget is not None):
            raise CabenchError("--max-seeds, --budget: expected with --until-resolved only")
        if option and data is None:
            raise CabenchError("--option: expected with --data only, whose options these are")
        code = run_study(study, chosen, dry_run, tensorboard, budget)
    except KeyboardInterrupt:
        text = "cabench: stopped; finished trials are kept, re-run the command to resume"
        with contextlib.suppress(OSError):  # the terminal may be closed
            typer.echo(text, err=True)
        code = exit_code()
    raise typer.Exit(code)


@app.command()
def ladder(
    study: options.StudyFile,
    rungs: Annotated[str, typer.Option(help="Comma-separated scales: names or YAML files")],
    prediction: Annotated[
        Path | None,
        typer.Option(help="YAML file with `order`: arms at the top rung, best first"),
    ] = None,
    seeds: options.Seeds = None,
    until_resolved: options.UntilResolved = False,
    all_arms: options.AllArms = False,
    arm: options.Arms = None,
    plugin: options.Plugins = None,
    backbone: options.Backbone = None,
    executor: options.Executor = "auto",
    ray_address: options.RayAddress = None,
    jobs: options.Jobs = None,
    device: options.Device = "auto",
    use_reference: options.UseReference = False,
    results: options.Results = RESULTS,
    cache: options.Cache = CACHE,
) -> None:
    """Run a study at several scales; print effects over the MACs of training."""
    from cabench.commands.ladder import run_ladder
    from cabench.execution.run import Options

    chosen = Options(
        seeds=seeds,
        until_resolved=until_resolved,
        all_arms=all_arms,
        arms=tuple(arm or ()),
        plugins=tuple(plugin or ()),
        backbone=backbone,
        executor=executor,
        ray_address=ray_address,
        jobs=jobs,
        device=device,
        use_reference=use_reference,
        results=results,
        cache=cache,
    )
    raise typer.Exit(run_ladder(study, rungs.split(","), chosen, prediction))


@app.command("try")
def try_(
    file: Annotated[Path, typer.Argument(help="Python file that registers a method")],
    minutes: Annotated[
        float, typer.Option(min=0, help="Stop before adding seeds that would take longer in all")
    ] = 30,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON alone")] = False,
    study: Annotated[Path, typer.Option(help="Study whose arms it is compared with")] = Path(
        "studies/layer_placement.yaml"
    ),
    against: options.Against = None,
    scale: options.ScaleName = "quick",
    jobs: options.Jobs = None,
    device: options.Device = "auto",
    executor: options.Executor = "auto",
    results: options.Results = RESULTS,
    cache: options.Cache = CACHE,
) -> None:
    """Test a method of your own against the control, on as many seeds as it needs."""
    from cabench.commands.try_idea import try_idea
    from cabench.execution.run import Options

    chosen = Options(
        scale=scale,
        against=against,
        jobs=jobs,
        device=device,
        executor=executor,
        results=results,
        cache=cache,
    )
    raise typer.Exit(try_idea(file, study, chosen, minutes, json))


@app.command()
def status(results: options.Results = RESULTS) -> None:
    """Show what is done, failed and missing in each study."""
    from cabench.commands.status import show_status

    show_status(results)


@app.command()
def compare(a: options.Target, b: options.Target, results: options.Results = RESULTS) -> None:
    """Compare two arms, or two runs of a study: scores, cost, trials in common.

    Two arms: layer_placement:can-3 layer_placement:native+dw. A reproduction:
    results/layer_placement.quick results/reference/layer_placement.quick.
    """
    from cabench.commands.compare import compare

    compare(a, b, results)


@app.command()
def tensorboard(
    study: options.StudyName,
    folder: Annotated[Path, typer.Argument(help="Output directory; files go to ARM/seed-S")],
    scale: options.RunScale = None,
    results: options.Results = RESULTS,
) -> None:
    """Write a study's curves and scores as TensorBoard event files."""
    from cabench.analysis.tensorboard import write_tensorboard
    from cabench.records.runs import find_run

    written = write_tensorboard(find_run(results, study, scale), folder)
    typer.echo(f"{written} trials in {folder}: tensorboard --logdir {folder}")


@app.command()
def report(
    study: options.AnyStudyName = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every run, and an overview of the paper's claims")
    ] = False,
    scale: options.RunScale = None,
    results: options.Results = RESULTS,
    out: options.Reports = REPORTS,
) -> None:
    """Write a study's report: PDF, CSV and Markdown. Trains nothing and needs no GPU."""
    from cabench.commands.report import show_overview, show_report

    if every is (study is not None):
        raise CabenchError("expected the name of a study, or --all")
    if study is None:
        show_overview(results, out)
    else:
        show_report(study, scale, results, out)


@app.command()
def score(
    study: options.StudyName,
    scale: options.RunScale = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated, such as kid,precision_lite0,fid_inception (`cabench list`); "
            "default: the run's own"
        ),
    ] = None,
    clip: Annotated[
        str | None, typer.Option(help="CLIP for clip_score: a transformers directory or hub name")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(callback=options.directory, help="Also write the samples' features, as npz"),
    ] = None,
    plugin: options.Plugins = None,
    results: options.Results = RESULTS,
    cache: options.Cache = CACHE,
) -> None:
    """Score a run's saved samples with other metrics or feature extractors. Trains nothing."""
    from cabench.commands.score import show_scores

    show_scores(study, scale, metrics, results, cache, features, clip, plugin or ())


@app.command()
def audit(
    data: Annotated[str, typer.Argument(help="A data set (`cabench list`)")] = "fashion16",
    n: Annotated[int | None, typer.Option(min=1, help="Images per set")] = None,
    sets: Annotated[int, typer.Option(help="Sets of real images")] = 8,
    metrics: Annotated[
        str | None, typer.Option(help="Comma-separated; default: those of the scales")
    ] = None,
    graded: Annotated[
        bool, typer.Option("--graded", help="Each corruption at several strengths")
    ] = False,
    shorter: Annotated[
        str | None, typer.Option(help="[DIRECTORY/]STUDY[.SCALE]:ARM trained on fewer images")
    ] = None,
    longer: Annotated[
        str | None, typer.Option(help="The same arm on more images; gives the unit of --graded")
    ] = None,
    samples: Annotated[
        bool, typer.Option("--samples", help="With --graded: corrupt the samples of --longer")
    ] = False,
    cache: options.Cache = CACHE,
    out: options.Reports = REPORTS,
) -> None:
    """Measure each metric on corrupted real images: blur, noise, missing classes, ..."""
    from cabench.commands.audit import check, show_audit

    chosen, images = check(data, n, sets, metrics)
    if not graded and (shorter or longer or samples):
        raise CabenchError("--shorter, --longer, --samples: expected with --graded only")
    if graded:
        from cabench.commands.audit_graded import show_graded

        code = show_graded(
            data, images, sets, chosen, shorter, longer, samples, Path("results"), cache, out
        )
    else:
        code = show_audit(data, images, sets, chosen, cache, out)
    raise typer.Exit(code)


@app.command("list")
def list_() -> None:
    """List studies, scales, backbones, methods, data sets and metrics."""
    from cabench.commands.list import show_known

    show_known()


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(help="study, cost or scale")],
    plugin: options.Plugins = None,
) -> None:
    """Print the JSON schema of study, cost study or scale files, for editors."""
    from cabench.commands.schema import show_schema

    show_schema(kind, plugin or [])


@app.command()
def macs(
    csv: Annotated[
        Path | None, typer.Option(callback=options.output_file, help="Also write a CSV file")
    ] = None,
    pdf: Annotated[
        Path | None, typer.Option(callback=options.output_file, help="Also write a PDF page")
    ] = None,
) -> None:
    """Compare parameters and MACs of published models with the published figures."""
    from cabench.commands.macs import show_published

    raise typer.Exit(show_published(csv, pdf))


# ---- errors -------------------------------------------------------------------------------------


def main() -> None:
    """Run the command line of `sys.argv`; every expected error is one line and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # trials show up in a log file as they finish; an ASCII terminal gets escapes
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    completion.join_colons(os.environ)
    logging.getLogger("cabench").handlers = [_log_handler()]
    words = sys.argv[1:] or ["--help"]
    try:
        with stop_on_signals():
            code = app(words, prog_name="cabench", standalone_mode=False)
    except typer.TyperException as error:
        _stop(_usage(error))
    except CabenchError as error:
        _stop(str(error))
    except typer.Abort:
        code = exit_code()
    except OSError as error:  # a full disk, a directory without permission
        _stop(disk_fault(error, resumable=words[0] == "run"))
    sys.exit(code)


def _log_handler() -> logging.Handler:
    if "_CABENCH_COMPLETE" in os.environ:  # only completions may be printed
        return logging.NullHandler()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("cabench: %(message)s"))
    handler.addFilter(_Once())
    return handler


class _Once(logging.Filter):
    """Each line once: a command may come across the same corrupted file twice."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = text not in self.seen
        self.seen.add(text)
        return new


def _usage(error: typer.TyperException) -> str:
    """'--sedes: no such option (did you mean '--seeds'?); see cabench run --help'."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "cabench"
    command = context.command if context else None
    text = error.message[:1].lower() + error.message[1:]
    if hasattr(error, "possibilities"):  # an unknown option
        option = getattr(error, "option_name", "")
        known = [name for each in command.params for name in each.opts] if command else []
        text = f"{option}: no such option{near(option, known)}"
    elif (parameter := getattr(error, "param", None)) is not None:
        is_option = parameter.opts[0].startswith("-")
        name = max(parameter.opts, key=len) if is_option else parameter.name.upper()
        text = f"{name}: {text}" if text else f"{name} is missing"
    elif (commands := getattr(command, "commands", None)) and "command" in error.format_message():
        words = [word for word in sys.argv[1:] if not word.startswith("-")]
        word = next(iter(words[len(path.split()) - 1 :]), "")
        text = f"unknown command {shown(word)}{near(word, commands)}; commands: {listed(commands)}"
    return f"{text.rstrip('.')}; see {path} --help"


def _stop(text: str) -> NoReturn:
    with contextlib.suppress(OSError):  # the terminal may be closed
        print(f"cabench: {one_line(text)}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
