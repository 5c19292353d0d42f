"""`run --dry-run`: what would run, and what it would cost; then it stops."""

from __future__ import annotations

from rich.table import Table

from cabench.cost.estimate import seconds_per_image
from cabench.cost.macs import cost
from cabench.errors import describe
from cabench.progress import clock
from cabench.run import Prepared, evaluations
from cabench.screen import screen
from cabench.store import write_json


def amount(count: float) -> str:
    """'3.58 M', '6.10 G'."""
    power = 9 if count >= 1e9 else 6
    return f"{count / 10**power:,.2f} {'G' if power == 9 else 'M'}"


def dry(p: Prepared) -> int:
    """Prints what would run: trials, what is done, MACs, parameters, an estimate of the time."""
    console = screen()
    data, scale = p.plan.data, p.plan.scale
    told = p.told
    if not (data.missing or p.searches or p.manifest_path.exists()):
        write_json(p.manifest_path, told)
    missing = {t.key for t in p.missing}
    console.print(
        f"{told['study']} at scale {told['scale']}: {told['question']}", soft_wrap=True
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("arm", no_wrap=True)
    for title in ("to run", "MACs", "conditioning", "params", "time a trial"):
        table.add_column(title, justify="right", no_wrap=True)
    models = {arm: p.plan.models[arm] for arm in p.plan.arms}
    costs = {}
    for arm, model in models.items():
        try:
            costs[arm] = cost(model)
        except (Exception, SystemExit) as error:  # a method of a plugin whose forward pass is wrong
            text = f"its forward pass fails: {describe(error)}"
            raise p.plan.file.fault(("arms", arm), text) from None
    macs = {arm: c["macs"]["total"] for arm, c in costs.items()}
    pace = seconds_per_image(models, macs, told["baseline"], scale.training.batch, p.device)
    total = 0.0
    for arm in p.plan.arms:
        trials = [t for t in p.plan.trials if t.arm == arm]
        to_run = [t for t in trials if data.missing or t.key in missing]
        seconds = sum(evaluations(t) for t in trials) / len(trials) * pace[arm] / 3
        total += seconds * len(to_run)
        conditioning, params = costs[arm]["macs"]["conditioning"], costs[arm]["params"]["total"]
        left = "data missing" if data.missing else f"{len(to_run)} of {len(trials)}"
        table.add_row(
            arm, left, amount(macs[arm]), f"{conditioning / macs[arm]:.1%}", amount(params),
            clock(seconds),
        )  # fmt: skip
    console.print(table)
    side = max(1, min(p.jobs, len(p.plan.trials)))
    console.print(
        f"{len(p.plan.trials)} trials: seeds {', '.join(map(str, p.plan.seeds))}; "
        f"{scale.training.images:,} images a trial; "
        f"data {data.source}, {'x'.join(map(str, data.shape))}; {side} side by side on {p.device}",
        soft_wrap=True,
    )
    console.print(
        f"estimate: {clock(total / side)} on this machine, from training steps timed just now; "
        "scoring and trials that share a machine take a third more; "
        "MACs: batch 1, one evaluation, conditioning (its share beside) included",
        soft_wrap=True,
    )
    if p.searches:
        tune = p.plan.file.study.tune
        console.print(
            f"before them {len(p.searches)} searches of {tune.trials} learning rates, each at "
            f"{tune.budget:.0%} of a trial's images: {len(p.searches) * tune.trials} short "
            "trainings, not in the estimate", soft_wrap=True,
        )  # fmt: skip
    if p.failed:
        console.print(f"{p.failed} trials failed earlier; --retry-failed runs them again")
    if data.missing:
        console.print(f"data missing: {data.missing}", soft_wrap=True)
    return 0
