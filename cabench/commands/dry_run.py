"""`cabench run --dry-run`: what would run and what it would cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.table import Table

from cabench.analysis.footnotes import settings_note, unused_note
from cabench.config.seeds import seeds_text
from cabench.config.yaml import located
from cabench.cost.estimate import beside, makespan, seconds_per_image, stated_seconds_per_image
from cabench.cost.macs import cost
from cabench.cost.memory import training_memory
from cabench.diffusion.passes import Passes
from cabench.errors import ConfigError, describe, listed, plural
from cabench.execution import preflight
from cabench.execution.duration import run_time, trial_time
from cabench.execution.run import Prepared
from cabench.execution.schedule import sampling_passes, training_passes, work
from cabench.planning.trials import added_claims
from cabench.records.spec import unused_streams
from cabench.runtime.console import clock, screen

GPUS = (1, 8, 64)  # for which wall hours are stated
LONG = 1e12  # MACs of a run that takes minutes: its steps are timed beside others
BASIS = "MACs: batch 1, one network evaluation, conditioning included (its share beside)"


@dataclass(frozen=True)
class ArmEstimate:
    """What the trials of an arm cost."""

    arm: str
    trials: int
    to_run: int
    macs: int  # of one forward pass at batch 1
    conditioning: float  # share of the MACs
    params: int
    seconds: float  # of one trial
    pace: float  # seconds of an eager training step per image


def show_plan(prepared: Prepared) -> int:
    """Print trials, cost and time, and return the exit code; only decoded images are written."""
    console = screen()
    study, scale = prepared.plan.study, prepared.plan.scale
    # steps are timed on the device that trains; a CPU can't time those of an absent GPU
    stated = scale.resources.peak_tflops is not None and not prepared.device.startswith("cuda")
    console.print(f"{study.study} at scale {scale.scale}: {study.question}", soft_wrap=True)
    preflight.check(prepared.plan, prepared.remaining.arms)
    arms = estimate_arms(prepared, stated)
    console.print(arms_table(arms, stated))
    for line in notes(prepared, arms, stated):
        console.print(line, soft_wrap=True)
    return 0


def estimate_arms(prepared: Prepared, stated: bool) -> list[ArmEstimate]:
    """Cost and time of each arm, from timed steps, or from the scale's stated FLOP/s."""
    planned = prepared.plan
    costs = {}
    for arm in planned.arms:
        try:
            costs[arm] = cost(planned.models[arm].spec, meta=stated)
        except (Exception, SystemExit) as error:  # a plugin's method with a wrong forward pass
            text = f"its forward pass fails: {describe(error)}"
            with located(*planned.documents):
                raise ConfigError("study", ("arms", arm), text) from None
    macs = {arm: c.macs.total for arm, c in costs.items()}
    if stated:
        pace = stated_seconds_per_image(macs, planned.scale.resources)
    else:
        models = {arm: planned.models[arm].spec for arm in planned.arms}
        batch = planned.scale.training.batch
        baseline, device = planned.study.baseline, prepared.device
        others = side_by_side(prepared) - 1 if device == "cpu" and is_long(prepared) else 0
        with beside(others, models[baseline], batch):
            pace = seconds_per_image(models, macs, baseline, batch, device)
    missing = {trial.key for trial in prepared.remaining.trials}
    estimates = []
    for arm in planned.arms:
        trials = [trial for trial in planned.all_trials if trial.arm == arm]
        if stated:  # a step counts as three passes
            passes = [training_passes(t, planned) + sampling_passes(t) for t in trials]
            seconds = [count * pace[arm] / 3 for count in passes]
        else:
            seconds = [trial_time(t, planned, pace[arm]).total for t in trials]
        estimates.append(
            ArmEstimate(
                arm=arm,
                trials=len(trials),
                to_run=sum(bool(planned.data.missing) or t.key in missing for t in trials),
                macs=macs[arm],
                conditioning=costs[arm].macs.conditioning / macs[arm],
                params=costs[arm].params.total,
                seconds=sum(seconds) / len(seconds),
                pace=pace[arm],
            )
        )
    return estimates


def side_by_side(prepared: Prepared) -> int:
    """How many trials run at a time."""
    return max(1, min(prepared.jobs, len(prepared.remaining.trials)))


def is_long(prepared: Prepared) -> bool:
    """Whether the run takes minutes at least, and the baseline needs no plugin."""
    model = prepared.plan.models[prepared.plan.study.baseline].spec
    if any(part.plugin for part in (model.backbone, *model.methods)):
        return False  # other processes do not have it
    return sum(work(prepared.plan, prepared.remaining.trials).values()) > LONG


def arms_table(arms: list[ArmEstimate], stated: bool) -> Table:
    """Trials, cost and time of each arm."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("arm", no_wrap=True)
    time = "GPU hours" if stated else "time per trial"
    for title in ("to run", "MACs", "conditioning", "params", time):
        table.add_column(title, justify="right", no_wrap=True)
    for each in arms:
        table.add_row(
            each.arm,
            f"{each.to_run} of {each.trials}",
            amount(each.macs),
            f"{each.conditioning:.1%}",
            amount(each.params),
            hours(each.seconds) if stated else clock(each.seconds),
        )
    return table


def notes(prepared: Prepared, arms: list[ArmEstimate], stated: bool) -> list[str]:
    """The lines below the table."""
    planned, scale = prepared.plan, prepared.plan.scale
    side = max(1, min(prepared.jobs, len(planned.all_trials)))
    gpus = max(1, int(scale.resources.gpus))
    per_trial = "one GPU" if gpus == 1 else f"{gpus} GPUs"
    where = f"{per_trial} per trial" if stated else f"{side} side by side on {prepared.device}"
    lines = [
        f"{plural(len(planned.all_trials), 'trial')}: {seeds_text(planned.seeds)}; "
        f"{listed(f'{images:,}' for images in planned.lengths)} images per trial; "
        f"data {planned.data.source}, {'x'.join(map(str, planned.data.shape))}; {where}",
        f"estimate: {time_text(prepared, arms, side, stated)}; {BASIS}",
    ]
    if stated:
        lines += [wall_hours(prepared, arms), memory_text(prepared)]
    if added := added_claims(planned.file):
        lines.append("added claims: " + "; ".join(f"{claim.id}: {claim.says}" for claim in added))
    if planned.settings:
        lines.append(settings_note(prepared.manifest))
    if unused := unused_streams(planned.models[arm].spec for arm in planned.arms):
        lines.append(unused_note(unused))
    if prepared.options.until_resolved:
        most = planned.study.sequential.most
        lines.append(
            f"this is the first look; arms of open claims get further seeds, at most {most} in all"
        )
    if narrowed := [arm for arm in planned.arms if planned.models[arm].narrowed]:
        lines.append(
            f"generators narrowed to rank {scale.bottleneck}, as full ones would exceed "
            f"{scale.max_params:,} parameters (max_params): {', '.join(narrowed)}"
        )
    tune = planned.study.tune
    if prepared.remaining.searches and tune is not None:
        count = len(prepared.remaining.searches)
        trainings = plural(count * tune.trials, "short training")
        lines.append(
            f"first, {plural(count, 'search', 'searches')} of "
            f"{plural(tune.trials, 'learning rate')}, each on {tune.budget:.0%} "
            f"of a trial's images: {trainings}, not in the estimate"
        )
    if prepared.remaining.failed:
        failed = plural(prepared.remaining.failed, "trial")
        lines.append(f"{failed} failed before; --retry-failed tries again")
    if planned.data.missing:
        lines.append(f"data missing: {planned.data.missing}")
    return lines


def time_text(prepared: Prepared, arms: list[ArmEstimate], side: int, stated: bool) -> str:
    """The estimated time in words, and what it rests on."""
    if not stated:
        planned = prepared.plan
        trials = planned.all_trials if planned.data.missing else prepared.remaining.trials
        ranks = prepared.ranks
        pace = {each.arm: each.pace / ranks for each in arms}
        seconds = run_time(trials, planned, pace, side, prepared.store.cache)
        timed = f", {side} side by side" if side > 1 and is_long(prepared) else ""
        if ranks > 1:
            timed += f", {ranks} processes per trial assumed {ranks} times as fast"
        return (
            f"{clock(seconds)} on this machine, from training steps timed just now{timed}; "
            "start, scoring and compiling as on a server's processor; other work adds to it"
        )
    total = sum(each.seconds * each.to_run for each in arms)
    resources = prepared.plan.scale.resources
    return (
        f"{hours(total)} GPU hours in total, from MACs, images and sampling steps at "
        f"{resources.utilisation:.0%} of {resources.peak_tflops:g} TFLOP/s (the scale's "
        "`resources`); without decoding of latents and scoring"
    )


def wall_hours(prepared: Prepared, arms: list[ArmEstimate]) -> str:
    """Hours until all trials are done on 1, 8 and 64 GPUs."""
    gpus = max(1, int(prepared.plan.scale.resources.gpus))
    seconds = [each.seconds for each in arms for _ in range(each.to_run)]
    texts = []
    for count in GPUS:
        each = min(gpus, count)  # of a trial
        longest_first = sorted((s / each for s in seconds), reverse=True)
        texts.append(f"{hours(makespan(longest_first, count // each))} on {count}")
    how = "one trial each" if gpus == 1 else f"{gpus} per trial, assumed {gpus} times as fast"
    return f"wall hours by number of GPUs: {', '.join(texts)}; {how}"


def memory_text(prepared: Prepared) -> str:
    """The memory of the largest arm's training step on each GPU."""
    planned, scale = prepared.plan, prepared.plan.scale
    arm = max(planned.arms, key=lambda name: planned.models[name].parameters.total)
    gpus = max(1, int(scale.resources.gpus))
    images = math.ceil(scale.training.batch / gpus)
    passes = Passes(scale.training.micro_batch, scale.training.checkpointing)
    memory = training_memory(planned.models[arm].spec, images, scale.training.precision, passes)
    images = plural(min(images, passes.micro_batch or images), "image")
    how = ", with checkpointing" if passes.checkpointing else ""
    return (
        f"memory: about {memory.total / 1e9:.3g} GB on each GPU for {arm}, the largest arm, "
        f"{memory.activations / 1e9:.3g} GB of it activations of {images} a pass{how}; "
        "without workspaces"
    )


def amount(count: float) -> str:
    """'3.58 M', '6.10 G'."""
    power = 9 if count >= 1e9 else 6
    return f"{count / 10**power:,.2f} {'G' if power == 9 else 'M'}"


def hours(seconds: float) -> str:
    """'0.42', '51', '1,234'."""
    count = seconds / 3600
    return f"{count:,.2g}" if count < 10 else f"{count:,.0f}"
