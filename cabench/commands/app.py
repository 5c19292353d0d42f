"""The commands and their options. Heavy libraries are imported inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cabench.commands import options
from cabench.commands.data_app import app as data_app
from cabench.commands.entry_app import entry, verify
from cabench.commands.model_app import export, sample
from cabench.commands.options import CACHE, REPORTS, RESULTS
from cabench.commands.plugin_app import app as plugin_app
from cabench.commands.run_app import ladder, run, try_
from cabench.commands.score_app import score
from cabench.errors import CabenchError
from cabench.version import __version__

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


app.command()(run)
app.command()(ladder)
app.command("try")(try_)


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


app.command()(entry)
app.command()(verify)


@app.command()
def log(
    study: options.StudyName,
    tracker: options.Tracker,
    folder: Annotated[
        Path | None,
        typer.Argument(callback=options.directory, help="Default: the run's folder, logs/TRACKER"),
    ] = None,
    scale: options.RunScale = None,
    results: options.Results = RESULTS,
) -> None:
    """Write a study's curves, scores and samples for an experiment tracker."""
    from cabench.analysis.loggers import write_log
    from cabench.records.runs import find_run

    run = find_run(results, study, scale, or_reference=True)
    typer.echo(write_log(run, tracker, folder or results / run.name / "logs" / tracker))


@app.command()
def report(
    study: options.AnyStudyName = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every run, and an overview of the paper's claims")
    ] = False,
    scale: options.RunScale = None,
    results: options.Results = RESULTS,
    out: options.Reports = REPORTS,
    kind: options.ReportFormat = "pdf",
) -> None:
    """Write a study's report: PDF, web page, CSV and Markdown. Trains nothing and needs no GPU."""
    from cabench.commands.report import show_overview, show_report

    if every is (study is not None):
        raise CabenchError("expected the name of a study, or --all")
    if study is None:
        show_overview(results, out, kind)
    else:
        show_report(study, scale, results, out, kind)


@app.command()
def site(
    folder: Annotated[Path, typer.Argument(callback=options.directory, help="Output directory")],
    results: options.Results = RESULTS,
) -> None:
    """Write a static site: a page per study and method, an index and a leaderboard."""
    from cabench.commands.site import write_site

    write_site(folder, results)


@app.command()
def serve(
    study: options.AnyStudyName = None,
    scale: options.RunScale = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8765,
    results: options.Results = RESULTS,
) -> None:
    """Show a study that runs, or all of them, as web pages on this machine; they refresh."""
    from cabench.commands.site import serve_site

    serve_site(study, scale, results, port)


app.command()(score)
app.command()(sample)
app.command()(export)


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
    plugin: options.Plugins = None,
    cache: options.Cache = CACHE,
    out: options.Reports = REPORTS,
) -> None:
    """Measure each metric on corrupted real images: blur, noise, missing classes, ..."""
    from cabench.commands.audit import check, show_audit

    chosen, images = check(data, n, sets, metrics, plugin or ())
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


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="method, metric, data or backbone")],
    name: Annotated[str, typer.Argument(help="What studies call it: a Python identifier")],
    output: Annotated[
        Path | None,
        typer.Option(
            callback=options.output_file, metavar="FILE", help="File to write; default: NAME.py"
        ),
    ] = None,
) -> None:
    """Write a plugin that works, as a file to start from; print the commands to type next."""
    from cabench.commands.new import write_skeleton

    write_skeleton(kind, name, output)


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(callback=options.directory, help="Directory; it may exist")
    ] = Path("."),
) -> None:
    """Write a study, a small scale and a method to start from; print the commands to type next."""
    from cabench.commands.init import write_start

    write_start(folder)


@app.command("list")
def list_(plugin: options.Plugins = None) -> None:
    """List studies, scales, backbones, methods, data sets and metrics."""
    from cabench.commands.list import show_known

    show_known(plugin or ())


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(help="study, cost, scale or entry")],
    plugin: options.Plugins = None,
) -> None:
    """Print the JSON schema of a study, cost study, scale or entry file, for editors."""
    from cabench.commands.schema import show_schema

    show_schema(kind, plugin or [])


@app.command()
def macs(
    plugin: options.Plugins = None,
    csv: Annotated[
        Path | None, typer.Option(callback=options.output_file, help="Also write a CSV file")
    ] = None,
    pdf: Annotated[
        Path | None, typer.Option(callback=options.output_file, help="Also write a PDF page")
    ] = None,
) -> None:
    """Compare parameters and MACs of published models with the published figures."""
    from cabench.commands.macs import show_published

    raise typer.Exit(show_published(csv, pdf, plugin or ()))
