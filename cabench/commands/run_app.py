"""Options of the commands that train: `cabench run`, `cabench ladder` and `cabench try`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from cabench.commands import options
from cabench.commands.options import CACHE, RESULTS
from cabench.errors import CabenchError
from cabench.runtime.signals import exit_code


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
    log: options.Logs = None,
    results: options.Results = RESULTS,
    cache: options.Cache = CACHE,
) -> None:
    """Run a study's missing trials (train, sample, score); print its table, draw its figures."""
    try:
        from cabench.config.cost_study import kind_of

        if (kind := kind_of(study)) != "train":
            from cabench.commands.cost_study import run_cost

            why = f"a study of kind '{kind}' trains nothing"
            options.only(context, ("dry_run", "arm", "plugin", "results"), why)
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
        code = run_study(study, chosen, dry_run, log or (), budget)
    except KeyboardInterrupt:
        text = "cabench: stopped; finished trials are kept, re-run the command to resume"
        with contextlib.suppress(OSError):  # the terminal may be closed
            typer.echo(text, err=True)
        code = exit_code()
    raise typer.Exit(code)


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
    dry_run: options.DryRun = False,
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
    raise typer.Exit(run_ladder(study, rungs.split(","), chosen, prediction, dry_run))


def try_(
    file: Annotated[Path, typer.Argument(help="Python file that registers a method")],
    minutes: Annotated[
        float, typer.Option(min=0, help="Stop before adding seeds that would take longer in all")
    ] = 30,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON alone")] = False,
    study: Annotated[Path, typer.Option(help="Study whose arms it is compared with")] = Path(
        "layer_placement"
    ),
    against: options.Against = None,
    scale: options.ScaleName = "quick",
    seeds: options.Seeds = None,
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
        seeds=seeds,
        against=against,
        jobs=jobs,
        device=device,
        executor=executor,
        results=results,
        cache=cache,
    )
    raise typer.Exit(try_idea(file, study, chosen, minutes, json))
