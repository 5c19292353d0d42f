"""The learning-rate search that a study may ask for: equal budget and start points for every arm.

An evaluation trains an arm at one rate on a seed that no trial has, for a part of the trials'
images, and takes the denoising loss on judge-train, on which no generator trains (the probe and the
floors use it). A search is one arm's evaluations; each and its outcome are kept under a content key
in results/tuning/.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cabench.errors import CabenchError
from cabench.planning.trials import Plan
from cabench.plugins import Plugin, load_plugins
from cabench.records.store import Store
from cabench.runtime.files import LOG, checksum, content_key, read_json, write_json

VERSION = 1  # raise it whenever the same search would find another rate
DIVERGED = 1e3  # what the sampler is told of a rate at which the loss isn't finite


@dataclass(frozen=True)
class Search:
    """One arm's search: what is trained, and the rates that may be tried."""

    arm: str
    train: dict[str, Any]  # the `train` part of a trial's spec, with the scale's own rate
    images: int  # of one evaluation
    options: dict[str, Any]  # the study's `tune`
    heldout: dict[str, Any]
    data_options: dict[str, Any]
    snapshot_every: int  # images
    plugins: tuple[Plugin, ...] = ()
    assets: dict[str, Any] = field(default_factory=dict)  # as a trial's

    @property
    def key(self) -> str:
        asked = [VERSION, self.train, self.images, self.options, self.heldout]
        return content_key("search", asked)

    def at(self, factor: float) -> dict[str, Any]:
        """The training spec at `factor` times the scale's rate, cut to three digits."""
        spec = copy.deepcopy(self.train)
        spec["training"]["lr"] = float(f"{spec['training']['lr'] * factor:.3g}")
        return spec

    def told(self, lr: float, tried: list[tuple[float, float]]) -> dict[str, Any]:
        return {
            "key": self.key,
            "arm": self.arm,
            "lr": lr,
            "tried": [list(t) for t in tried],
            "images": self.images,
            "seed": self.train["seed"],
            "options": self.options,
            "judged": "denoising loss on judge-train",
        }

    def outcome(self, store: Store) -> dict[str, Any] | None:
        """The finished search: `lr`, and `tried`, the pairs (rate, loss) in their order."""
        return _sealed(store, self.key)


def searches(plan: Plan) -> list[Search]:
    """One for each arm of a study that says `tune`."""
    tune = plan.file.study.tune
    if tune is None:
        return []
    if tune.seed in plan.seeds:
        raise plan.file.fault(
            ("tune", "seed"), f"{tune.seed} is a seed of the trials: rates are tuned on another"
        )
    found = []
    for arm in plan.arms:
        trial = next(t for t in plan.trials if t.arm == arm)
        train = copy.deepcopy(trial.spec["train"])
        train["seed"] = tune.seed
        images = max(train["training"]["batch"], round(trial.spec["images"] * tune.budget))
        found.append(
            Search(
                arm,
                train,
                images,
                tune.model_dump(mode="json"),
                trial.spec["score"]["heldout"],
                trial.data_options,
                trial.snapshots["snapshot_every"],
                trial.plugins,
                trial.assets,
            )
        )
    return found


def evaluate(search: Search, factor: float, store: Store, device: str, progress: Any) -> float:
    """Loss (mean squared error of the prediction) at `factor` times the rate; DIVERGED if none."""
    from cabench.data import load_dataset
    from cabench.diffusion.process import Process
    from cabench.diffusion.training import Data, Diverged, denoising_loss, load_ema, train
    from cabench.execution.trial import texts_of, with_texts
    from cabench.models.streams import names_of

    spec = search.at(factor)
    key = content_key("evaluation", [VERSION, spec, search.images, search.heldout])
    with store.lock(key):
        if (kept := _sealed(store, key)) is not None:
            return kept["loss"]
        load_plugins(search.plugins)
        dataset = with_texts(
            load_dataset(spec["data"]["source"], **search.data_options),
            texts_of(spec, search.assets),
            store.cache,
        )
        train_key = content_key("train", spec)
        try:
            with store.lock(train_key):
                snapshot = train(
                    spec,
                    search.images,
                    dataset,
                    store.training(train_key),
                    snapshot_every=search.snapshot_every,
                    keep_state=False,
                    device=device,
                    progress=progress,
                )
            judged = Data(dataset.split("judge-train"), names_of(spec["model"]["embedder"]))
            errors = denoising_loss(
                load_ema(spec, snapshot, device),
                Process(**spec["diffusion"]),
                judged,
                **search.heldout,
                device=device,
            )
            loss = min(float(errors.mean()), DIVERGED)
        except Diverged:
            loss = DIVERGED
        content = {"key": key, "arm": search.arm, "spec": spec, "images": search.images}
        _seal(store, key, content | {"loss": loss})
        return loss


def broken(search: Search, reasons: list[str]) -> dict[str, Any]:
    """The outcome, not kept, of a search whose evaluations raised.

    When all did, the arm is at fault: its trials fail at the first rate and say why. When some
    did, its effort would not be the others': a CabenchError.
    """
    if len(reasons) < search.options["trials"]:
        raise CabenchError(
            f"the search of '{search.arm}': {len(reasons)} of {search.options['trials']} "
            f"evaluations failed ({reasons[0]}); the same command tries them again"
        )
    rate = search.at(search.options["start"][0])["training"]["lr"]
    return search.told(rate, [])


def conclude(search: Search, tried: list[tuple[float, float]], store: Store) -> dict[str, Any]:
    """Keeps the outcome of a search; `tried` holds (factor, loss) in the order tried."""
    rates = [(search.at(factor)["training"]["lr"], loss) for factor, loss in tried]
    best = min(rates, key=lambda pair: pair[1])
    told = search.told(best[0], rates)
    _seal(store, search.key, told)
    return told


def tuned(plan: Plan, outcomes: Mapping[str, dict[str, Any]]) -> Plan:
    """The plan with each arm's trials at the rate that its search found."""
    trials = []
    for trial in plan.trials:
        told = outcomes[trial.arm]
        spec = copy.deepcopy(trial.spec)
        spec["train"]["training"]["lr"] = told["lr"]
        spec["tuning"] = told["key"]
        search = {k: told[k] for k in ("key", "lr", "tried", "images", "seed", "judged")}
        trials.append(dataclasses.replace(trial, spec=spec, tuning=search))
    return dataclasses.replace(plan, trials=trials)


def _sealed(store: Store, key: str) -> dict[str, Any] | None:
    path = store.tuning(key)
    if not path.exists():
        return None
    try:
        content = read_json(path)
        if content["checksum"] == checksum(content):
            return content
    except (CabenchError, KeyError, TypeError):
        pass
    LOG.warning("%s is damaged: made again", path)
    return None


def _seal(store: Store, key: str, content: dict[str, Any]) -> None:
    write_json(store.tuning(key), content | {"checksum": checksum(content)})
