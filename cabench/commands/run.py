"""`cabench run`: prepare a study, execute what is missing, print its table, write its figures."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cabench.analysis.loggers import check_log, write_log
from cabench.config.seeds import is_count, understood
from cabench.errors import plural
from cabench.evidence.results import Results
from cabench.evidence.verdicts import Verdict
from cabench.execution.looks import run_until_resolved
from cabench.execution.run import Options, Prepared, execute, prepare
from cabench.records.runs import DEFAULT_SCALE, Run, find_run
from cabench.records.schema import ManifestDesign
from cabench.records.store import reference
from cabench.runtime.cache import RESULTS
from cabench.runtime.console import screen, to_the_end


def run_study(
    study: Path,
    options: Options,
    dry_run: bool = False,
    logs: Sequence[str] = (),
    budget: float | None = None,
) -> int:
    """Run a study of kind `train` and return the exit code: 1 when a trial failed.

    `budget` in seconds is for a run until its claims are resolved. `logs` are experiment trackers,
    each with or without a directory: 'wandb', 'tensorboard=DIR'.
    """
    from cabench.execution.executors.torchrun import team

    with team(options.device) as ranks:
        if ranks.leads:
            return _run_study(study, options, dry_run, logs, budget)
        ranks.follow()
        return 0


def _run_study(
    study: Path, options: Options, dry_run: bool, logs: Sequence[str], budget: float | None
) -> int:
    trackers = [check_log(text) for text in logs]
    if dry_run:
        from cabench.commands.dry_run import show_plan

        show_seeds(options, always=True)
        return show_plan(prepare(study, options))
    with to_the_end():
        return _run(study, options, trackers, budget)


def _run(
    study: Path, options: Options, trackers: Sequence[tuple[str, Path | None]], budget: float | None
) -> int:
    show_seeds(options)
    prepared = prepare(study, options)
    if prepared.remaining.trials and not options.use_reference:
        show_reference(prepared, screen())
    if options.until_resolved:
        prepared = run_until_resolved(study, prepared, budget, interim=show_interim)
    else:
        prepared = execute(prepared)
    run = prepared.run
    code = show(run, screen(), options.until_resolved)
    for name, folder in trackers:
        screen().print(write_log(run, name, folder), soft_wrap=True)
    return code


def show_seeds(options: Options, always: bool = False) -> None:
    """Print how --seeds is understood, `always` or where it is a number: 1000 may mean a seed."""
    if options.seeds is not None and (always or is_count(options.seeds)):
        screen().print(understood(options.seeds), soft_wrap=True)


def show_reference(prepared: Prepared, console: Console) -> None:
    """Print the table of the committed run of this study, if there is one: a run takes a while."""
    from cabench.analysis import tables

    study, scale = prepared.plan.study.study, prepared.plan.scale.scale
    committed = reference()
    if not (committed / f"{study}.{scale}" / "manifest.json").exists():
        return
    run = find_run(committed, study, scale)
    if run.manifest.backbone != prepared.plan.file.backbone:
        return
    console.rule(f"the committed run, {committed}")
    tables.show(Results.of(run, with_curves=True), console)
    console.rule("this run")


def show_interim(results: Results) -> None:
    """Print the arms' primary metric so far, with seeds and differences to the baseline."""
    from cabench.analysis.summary import summary
    from cabench.analysis.tables import show_table

    table = summary(results).with_n_column()
    show_table(dataclasses.replace(table, columns=table.columns[:3]), screen())


def show(run: Run, console: Console, until_resolved: bool = False) -> int:
    """Print the table, write tables and figures; return 1 when a trial failed.

    The verdicts and the commands to type next come last.
    """
    from cabench.analysis import tables
    from cabench.analysis.outputs import write_outputs

    results = Results.of(run, with_curves=True)
    tables.show(results, console)
    paths = write_outputs(results, run.store)
    console.print("\nWritten:", *(f"  {path}" for path in paths), sep="\n", soft_wrap=True)
    failed = [record for record in results.records.values() if not record.complete]
    if failed:
        console.print(f"\n{plural(len(failed), 'trial')} failed; --retry-failed tries again")
    for line in closing(results, run, until_resolved):
        console.print(line, soft_wrap=True)
    return 1 if failed else 0


def closing(results: Results, run: Run, until_resolved: bool = False) -> list[str]:
    """The outcome, a line per claim, and the commands to type next."""
    from cabench.analysis.verdict_text import claim_id, outcome_of, remark

    lines = []
    for verdict in results.verdicts:
        seeds = f" on {plural(verdict.n, 'seed')}" if verdict.is_tested else ""
        reason = f"; {text}" if (text := remark(verdict)) else ""
        lines.append(f"  {claim_id(verdict)}: {verdict.word}{seeds}{reason}")
    if outcome := outcome_of(results):
        lines = ["", outcome, *lines]
    lines += ["", "Next:", f"  {report_command(run)}"]
    if any(goes_on(verdict, run.manifest.design) for verdict in results.verdicts):
        how = "again" if until_resolved else "with --until-resolved"
        lines.append(f"  the same command {how}, which adds seeds to open claims")
    return lines


def goes_on(verdict: Verdict, design: ManifestDesign) -> bool:
    """Whether a run until claims are resolved would add seeds for the claim."""
    later = design.until_resolved and verdict.n > len(design.first)
    futile = later and verdict.is_futile  # no claim is at the first look
    return verdict.is_open and verdict.n < design.most and not futile


def report_command(run: Run) -> str:
    """The command that writes the report of the run."""
    name = run.manifest.study if run.manifest.scale == DEFAULT_SCALE else run.name
    words = ["cabench", "report", name]
    if run.store.results != RESULTS:
        words += ["--results", str(run.store.results)]
    return shlex.join(words)
