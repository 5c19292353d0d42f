"""Runs the learning-rate searches that `planning.tuning` plans; results are in results/tuning/."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cabench.config.schema import Tune
from cabench.errors import CabenchError
from cabench.planning.tuning import VERSION, Search
from cabench.plugins import load_plugins
from cabench.records.reading import read_outcome
from cabench.records.schema import SearchOutcome
from cabench.records.spec import TrainSpec
from cabench.records.store import Store
from cabench.runtime.files import content_key, write_json
from cabench.runtime.sealed import read_sealed, read_valid, seal

DIVERGED = 1e3  # the loss that the sampler gets for a rate at which the loss isn't finite
EXPLORED = 2  # random rates after the start points; then the sampler uses the losses


def outcome(search: Search, store: Store) -> SearchOutcome | None:
    """The outcome of a finished search, or None."""
    return read_valid(store.find_tuning(search.key), lambda path: read_outcome(read_sealed(path)))


def evaluate(
    search: Search,
    factor: float,
    store: Store,
    device: str,
    progress: Callable[[int, float], None],  # images seen, last loss
) -> float:
    """Loss on judge-train at `factor` times the scale's rate, at most DIVERGED; cached on disk."""
    spec = search.at(factor)
    key = content_key("evaluation", [VERSION, spec.dump(), search.images, search.heldout.dump()])
    with store.lock(key):
        if (evaluation := read_valid(store.tuning(key), read_sealed)) is not None:
            return evaluation["loss"]
        load_plugins(search.plugins)
        loss = _trained_loss(search, spec, store, device, progress)
        content = {"key": key, "arm": search.arm, "spec": spec.dump(), "images": search.images}
        write_json(store.tuning(key), seal(content | {"loss": loss}))
        return loss


def _trained_loss(
    search: Search,
    spec: TrainSpec,
    store: Store,
    device: str,
    progress: Callable[[int, float], None],
) -> float:
    from cabench.diffusion.batches import Data
    from cabench.diffusion.checkpoints import load_ema
    from cabench.diffusion.loop import train
    from cabench.diffusion.losses import denoising_loss
    from cabench.diffusion.process import Process
    from cabench.diffusion.training import Diverged
    from cabench.execution.assets import ASSETS

    dataset = ASSETS.encoded(spec, search.places, store.cache)
    try:
        with store.lock(spec.key):
            snapshot = train(
                spec,
                search.images,
                dataset,
                store.training(spec.key),
                snapshot_every=search.snapshot_every,
                keep_state=False,
                device=device,
                progress=progress,
                cache=store.cache,
                weights=ASSETS.weights(spec, search.places),
                passes=search.passes,
            )
        errors = denoising_loss(
            load_ema(spec.model, snapshot, device),
            Process(spec.diffusion.prediction, spec.diffusion.schedule),
            Data(dataset.split("judge-train"), spec.model.embedder.streams),
            **search.heldout.dump(),
            device=device,
        )
    except Diverged:
        return DIVERGED
    return min(float(errors.mean()), DIVERGED)


# ---- choosing rates -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Suggestion:
    """A learning rate to evaluate."""

    place: int  # of the arm's search
    factor: float  # of the scale's rate
    trial: Any  # Optuna's


class ArmSearches:
    """One Optuna study per arm.

    An arm has one evaluation at a time, so that its rates depend on its own losses only, however
    many arms run side by side.
    """

    def __init__(self, searches: Sequence[Search]):
        self.searches = searches
        self.studies = [_study(search.options) for search in searches]
        self.left = [search.options.trials for search in searches]
        self.running: dict[str, Suggestion] = {}  # by the caller's id
        self.tried: list[list[tuple[float, float]]] = [[] for _ in searches]  # (factor, loss)
        self.faults: list[list[str]] = [[] for _ in searches]  # why evaluations failed

    @property
    def evaluations(self) -> int:
        return sum(search.options.trials for search in self.searches)

    @property
    def exhausted(self) -> bool:
        """Whether no rate is left to suggest."""
        return not any(self.left)

    def suggest(self, identity: str) -> Suggestion | None:
        """The next rate, of the arm with the most left to do; None while all of them run."""
        from optuna.distributions import FloatDistribution

        busy = {suggestion.place for suggestion in self.running.values()}
        free = [i for i, left in enumerate(self.left) if left and i not in busy]
        if not free:
            return None
        place = max(free, key=lambda i: self.left[i])
        low, high = self.searches[place].options.range
        trial = self.studies[place].ask({"factor": FloatDistribution(low, high, log=True)})
        self.left[place] -= 1
        suggestion = Suggestion(place, trial.params["factor"], trial)
        self.running[identity] = suggestion
        return suggestion

    def complete(self, identity: str, loss: float | None, fault: str | None) -> None:
        """Record a loss, or why there is none; a fault may come with a loss for the sampler."""
        from optuna.trial import TrialState

        suggestion = self.running.pop(identity)
        if fault is None and loss is not None:
            self.tried[suggestion.place].append((suggestion.factor, loss))
        else:
            self.faults[suggestion.place].append(fault or "no loss")
        state = TrialState.FAIL if loss is None else TrialState.COMPLETE
        self.studies[suggestion.place].tell(suggestion.trial, loss, state=state)

    def outcomes(self, store: Store) -> dict[str, SearchOutcome]:
        """The outcome of each arm's search; those without a fault are stored."""
        return {
            search.arm: _failed(search, faults) if faults else _conclude(search, tried, store)
            for search, tried, faults in zip(self.searches, self.tried, self.faults, strict=True)
        }


def _study(options: Tune) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    startup = len(options.start) + EXPLORED
    sampler = optuna.samplers.TPESampler(seed=options.seed, n_startup_trials=startup)
    study = optuna.create_study(sampler=sampler, pruner=optuna.pruners.NopPruner())
    for factor in options.start:
        study.enqueue_trial({"factor": factor})
    return study


def _failed(search: Search, faults: list[str]) -> SearchOutcome:
    """The outcome, not stored, of a search whose evaluations raised.

    If all did, the arm is at fault: its trials fail at the first rate and say why. If some did, the
    arm would be tuned with less effort than the others: a CabenchError.
    """
    if len(faults) < search.options.trials:
        raise CabenchError(
            f"the search of '{search.arm}': {len(faults)} of {search.options.trials} "
            f"evaluations failed ({faults[0]}); re-run the command to try them again"
        )
    return search.outcome(search.at(search.options.start[0]).training.lr, [])


def _conclude(search: Search, tried: list[tuple[float, float]], store: Store) -> SearchOutcome:
    """Store and return the outcome: the rate with the lowest loss, all rates in the order tried."""
    rates = [(search.at(factor).training.lr, loss) for factor, loss in tried]
    best, _ = min(rates, key=lambda pair: pair[1])
    result = search.outcome(best, rates)
    write_json(store.tuning(search.key), seal(result.dump()))
    return result
