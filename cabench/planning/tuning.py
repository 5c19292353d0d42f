"""The learning-rate search that a study may ask for: equal budget and start points for every arm.

An evaluation trains an arm at one rate, on a seed that no trial uses and for a fraction of a
trial's images, and returns the denoising loss on judge-train, which no generator is trained on. A
search is the evaluations of one arm.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cabench.config.schema import Tune
from cabench.config.yaml import located
from cabench.errors import ConfigError
from cabench.planning.trials import Plan, Trial
from cabench.plugins import Plugin
from cabench.runtime.files import content_key

VERSION = 1  # raise it whenever the same search would choose another rate


@dataclass(frozen=True)
class Search:
    """One arm's search: what is trained, and the rates that may be tried."""

    # fmt: off
    arm: str
    train: dict[str, Any]          # the `train` part of a trial's spec, at the scale's rate
    images: int                    # of one evaluation
    options: dict[str, Any]        # the study's `tune`
    heldout: dict[str, Any]
    data_options: dict[str, Any]
    snapshot_every: int            # images
    plugins: tuple[Plugin, ...] = ()
    assets: dict[str, Any] = field(default_factory=dict)  # as in a trial
    # fmt: on

    @property
    def key(self) -> str:
        return content_key("search", [VERSION, self.train, self.images, self.options, self.heldout])

    def at(self, factor: float) -> dict[str, Any]:
        """The training spec at `factor` times the scale's rate, rounded to three digits."""
        spec = copy.deepcopy(self.train)
        spec["training"]["lr"] = float(f"{spec['training']['lr'] * factor:.3g}")
        return spec

    def result(self, lr: float, tried: list[tuple[float, float]]) -> dict[str, Any]:
        """The outcome of this search: the chosen rate, and the (rate, loss) pairs in order."""
        return {
            "key": self.key,
            "arm": self.arm,
            "lr": lr,
            "tried": [list(pair) for pair in tried],
            "images": self.images,
            "seed": self.train["seed"],
            "options": self.options,
            "judged": "denoising loss on judge-train",
        }


def searches(plan: Plan) -> list[Search]:
    """One search per arm of a study that has `tune`; otherwise none."""
    tune = plan.study.tune
    if tune is None:
        return []
    if tune.seed in plan.seeds:
        text = f"expected a seed that no trial uses, got {tune.seed}"
        with located(*plan.documents):
            raise ConfigError("study", ("tune", "seed"), text)
    first = {trial.arm: trial for trial in reversed(plan.trials)}
    return [_search(first[arm], tune) for arm in plan.arms]


def _search(trial: Trial, tune: Tune) -> Search:
    train = copy.deepcopy(trial.spec["train"])
    train["seed"] = tune.seed
    return Search(
        arm=trial.arm,
        train=train,
        images=max(train["training"]["batch"], round(trial.spec["images"] * tune.budget)),
        options=tune.model_dump(mode="json"),
        heldout=trial.spec["score"]["heldout"],
        data_options=trial.data_options,
        snapshot_every=trial.snapshots["snapshot_every"],
        plugins=trial.plugins,
        assets=trial.assets,
    )


def tuned(plan: Plan, outcomes: Mapping[str, dict[str, Any]]) -> Plan:
    """The plan with each arm's trials at the rate that its search chose."""
    trials = []
    for trial in plan.trials:
        outcome = outcomes[trial.arm]
        spec = copy.deepcopy(trial.spec)
        spec["train"]["training"]["lr"] = outcome["lr"]
        spec["tuning"] = outcome["key"]
        search = {k: outcome[k] for k in ("key", "lr", "tried", "images", "seed", "judged")}
        trials.append(dataclasses.replace(trial, spec=spec, tuning=search))
    return dataclasses.replace(plan, trials=trials)
