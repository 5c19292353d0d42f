"""`run --dry-run`: what would run, and what it would cost; then it stops."""

from __future__ import annotations

from rich.table import Table

from cabench.cost.estimate import seconds_per_image, stated_seconds_per_image
from cabench.cost.macs import cost
from cabench.errors import describe
from cabench.execution.run import Prepared, evaluations
from cabench.planning.models import method_entries
from cabench.runtime.console import clock, screen
from cabench.runtime.files import write_json


def amount(count: float) -> str:
    """'3.58 M', '6.10 G'."""
    power = 9 if count >= 1e9 else 6
    return f"{count / 10**power:,.2f} {'G' if power == 9 else 'M'}"


def hours(seconds: float) -> str:
    """'0.42', '51', '1,234'."""
    found = seconds / 3600
    return f"{found:,.2g}" if found < 10 else f"{found:,.0f}"


def is_narrowed(p: Prepared, arm: str) -> bool:
    """Did the scale give the arm's generators a bottleneck, which the study doesn't ask for?"""
    if p.plan.scale.bottleneck is None or p.plan.file.study.arms[arm].match is not None:
        return False
    asked = [options.model_dump(mode="json") for _, options in method_entries(p.plan.file, arm)]
    return asked != [method["options"] for method in p.plan.models[arm]["methods"]]


def dry(p: Prepared) -> int:
    """Prints what would run: trials, what is done, MACs, parameters, an estimate of the time."""
    console = screen()
    data, scale = p.plan.data, p.plan.scale
    told = p.told
    if not (data.missing or p.searches or p.manifest_path.exists()):
        write_json(p.manifest_path, told)
    missing = {t.key for t in p.missing}
    # on a GPU that is here, steps are timed; a CPU can't tell how long they would take on one
    stated = scale.resources.peak_tflops is not None and not p.device.startswith("cuda")
    console.print(f"{told['study']} at scale {told['scale']}: {told['question']}", soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("arm", no_wrap=True)
    pace_of = "GPU hours" if stated else "time a trial"
    for title in ("to run", "MACs", "conditioning", "params", pace_of):
        table.add_column(title, justify="right", no_wrap=True)
    models = {arm: p.plan.models[arm] for arm in p.plan.arms}
    costs = {}
    for arm, model in models.items():
        try:
            costs[arm] = cost(model, meta=stated)
        except (Exception, SystemExit) as error:  # a method of a plugin whose forward pass is wrong
            text = f"its forward pass fails: {describe(error)}"
            raise p.plan.file.fault(("arms", arm), text) from None
    macs = {arm: c["macs"]["total"] for arm, c in costs.items()}
    if stated:
        pace = stated_seconds_per_image(macs, scale.resources)
    else:
        pace = seconds_per_image(models, macs, told["baseline"], scale.training.batch, p.device)
    total = 0.0
    for arm in p.plan.arms:
        trials = [t for t in p.plan.trials if t.arm == arm]
        to_run = [t for t in trials if data.missing or t.key in missing]
        seconds = sum(evaluations(t) for t in trials) / len(trials) * pace[arm] / 3
        total += seconds * len(to_run)
        conditioning, params = costs[arm]["macs"]["conditioning"], costs[arm]["params"]["total"]
        left = f"{len(to_run)} of {len(trials)}"
        table.add_row(
            arm,
            left,
            amount(macs[arm]),
            f"{conditioning / macs[arm]:.1%}",
            amount(params),
            hours(seconds) if stated else clock(seconds),
        )
    console.print(table)
    side = max(1, min(p.jobs, len(p.plan.trials)))
    where = "one GPU per trial is the unit" if stated else f"{side} side by side on {p.device}"
    console.print(
        f"{len(p.plan.trials)} trials: seeds {', '.join(map(str, p.plan.seeds))}; "
        f"{scale.training.images:,} images a trial; "
        f"data {data.source}, {'x'.join(map(str, data.shape))}; {where}",
        soft_wrap=True,
    )
    if stated:
        resources = scale.resources
        estimate = (
            f"{hours(total)} GPU hours in all, a trial's beside its arm; from MACs, images and "
            "sampling evaluations at an assumed "
            f"{resources.utilisation:.0%} of {resources.peak_tflops:g} TFLOP/s (the scale's "
            "`resources`); decoding of latents and scoring are not in it"
        )
    else:
        estimate = (
            f"{clock(total / side)} on this machine, from training steps timed just now; "
            "scoring and trials that share a machine take a third more"
        )
    console.print(
        f"estimate: {estimate}; "
        "MACs: batch 1, one evaluation, conditioning (its share beside) included",
        soft_wrap=True,
    )
    if narrowed := [arm for arm in p.plan.arms if is_narrowed(p, arm)]:
        console.print(
            f"bottleneck of rank {scale.bottleneck}, since a full generator would be larger than "
            f"{scale.max_params:,} parameters (max_params): {', '.join(narrowed)}",
            soft_wrap=True,
        )
    if p.searches:
        tune = p.plan.file.study.tune
        console.print(
            f"before them {len(p.searches)} searches of {tune.trials} learning rates, each at "
            f"{tune.budget:.0%} of a trial's images: {len(p.searches) * tune.trials} short "
            "trainings, not in the estimate",
            soft_wrap=True,
        )
    if p.failed:
        console.print(f"{p.failed} trials failed earlier; --retry-failed runs them again")
    if data.missing:
        console.print(f"data missing: {data.missing}", soft_wrap=True)
    return 0
