"""The learning-rate search that a study may ask for: equal budget and start points for every arm.

An evaluation trains an arm at one rate, on a seed that no trial uses and for a fraction of a
trial's images, and returns the denoising loss on judge-train, which no generator is trained on. A
search is the evaluations of one arm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from cabench.config.schema import Tune
from cabench.config.seeds import seeds_text
from cabench.config.yaml import located
from cabench.diffusion.passes import Passes
from cabench.errors import ConfigError
from cabench.planning.trials import Places, Plan, Trial
from cabench.plugins import Plugin
from cabench.records.schema import SearchOutcome
from cabench.records.spec import HeldoutSpec, TrainSpec
from cabench.runtime.files import content_key

VERSION = 1  # raise it whenever the same search would choose another rate


@dataclass(frozen=True)
class Search:
    """One arm's search: what is trained, and the rates that may be tried."""

    # fmt: off
    arm: str
    train: TrainSpec               # of a trial, at the scale's rate
    images: int                    # of one evaluation
    options: Tune                  # the study's `tune`
    heldout: HeldoutSpec
    places: Places
    snapshot_every: int            # images
    plugins: tuple[Plugin, ...] = ()
    passes: Passes = Passes()      # noqa: RUF009 (frozen); as a trial's
    # fmt: on

    @property
    def key(self) -> str:
        options = self.options.model_dump(mode="json")
        parts = [VERSION, self.train.dump(), self.images, options, self.heldout.dump()]
        return content_key("search", parts)

    def at(self, factor: float) -> TrainSpec:
        """The training spec at `factor` times the scale's rate, rounded to three digits."""
        return at_rate(self.train, float(f"{self.train.training.lr * factor:.3g}"))

    def outcome(self, lr: float, tried: list[tuple[float, float]]) -> SearchOutcome:
        """The outcome of this search: the chosen rate, and the (rate, loss) pairs in order."""
        return SearchOutcome(
            key=self.key,
            arm=self.arm,
            lr=lr,
            tried=tuple(tried),
            images=self.images,
            seed=self.train.seed,
            options=self.options.model_dump(mode="json"),
            judged="denoising loss on judge-train",
        )


def at_rate(spec: TrainSpec, lr: float) -> TrainSpec:
    """The same training at another learning rate."""
    recipe = spec.training.model_copy(update={"lr": lr})
    return spec.model_copy(update={"training": recipe})


def searches(plan: Plan) -> list[Search]:
    """One search per arm of a study that has `tune`; otherwise none."""
    tune = plan.study.tune
    if tune is None:
        return []
    if tune.seed in plan.seeds:
        text = f"expected a seed that no trial uses, got {tune.seed}: trials use "
        text += seeds_text(plan.seeds)
        with located(*plan.documents):
            raise ConfigError("study", ("tune", "seed"), text)
    first = {trial.arm: trial for trial in reversed(plan.trials)}
    return [_search(first[arm], tune) for arm in plan.arms]


def _search(trial: Trial, tune: Tune) -> Search:
    train = trial.spec.train.of_seed(tune.seed)
    images = max(train.training.batch, round(trial.spec.images * tune.budget))
    return Search(
        arm=trial.arm,
        train=train.of_length(images),
        images=images,
        options=tune,
        heldout=trial.spec.score.heldout,
        places=trial.places,
        snapshot_every=trial.snapshot_every,
        plugins=trial.plugins,
        passes=trial.passes,
    )


def tuned(plan: Plan, outcomes: Mapping[str, SearchOutcome]) -> Plan:
    """The plan with each arm's trials at the rate that its search chose, where that is known."""
    trials = []
    for trial in plan.trials:
        outcome = outcomes.get(trial.arm)
        if outcome is None:
            trials.append(trial)
            continue
        train = at_rate(trial.spec.train, outcome.lr)
        spec = trial.spec.model_copy(update={"train": train, "tuning": outcome.key})
        trials.append(dataclasses.replace(trial, spec=spec, tuning=outcome.result))
    return dataclasses.replace(plan, trials=trials)
