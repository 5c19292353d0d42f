"""Evaluates and concludes learning-rate searches; every result is stored in results/tuning/."""

from __future__ import annotations

from typing import Any

from cabench.errors import CabenchError
from cabench.planning.tuning import VERSION, Search
from cabench.plugins import load_plugins
from cabench.records.store import Store
from cabench.runtime.files import content_key, write_json
from cabench.runtime.sealed import read_sealed, read_valid, seal

DIVERGED = 1e3  # what the sampler is told of a rate at which the loss isn't finite


def outcome(search: Search, store: Store) -> dict[str, Any] | None:
    """The finished search, or None: `lr`, and `tried`, its (rate, loss) pairs in order."""
    return read_valid(store.tuning(search.key), read_sealed)


def evaluate(search: Search, factor: float, store: Store, device: str, progress: Any) -> float:
    """Loss (mean squared error of the prediction) at `factor` times the rate; DIVERGED if none."""
    from cabench.diffusion.process import Process
    from cabench.diffusion.training import Data, Diverged, denoising_loss, load_ema, train
    from cabench.execution.assets import ASSETS
    from cabench.models.streams import names_of
    from cabench.records.spec import TrainSpec

    spec = search.at(factor)
    key = content_key("evaluation", [VERSION, spec, search.images, search.heldout])
    with store.lock(key):
        if (kept := read_valid(store.tuning(key), read_sealed)) is not None:
            return kept["loss"]
        load_plugins(search.plugins)
        text = search.assets.get("text", {}).get("path")
        typed = TrainSpec.model_validate(spec)
        dataset = ASSETS.encoded(typed, search.data_options, text, store.cache)
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
        write_json(store.tuning(key), seal(content | {"loss": loss}))
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
    return search.result(rate, [])


def conclude(search: Search, tried: list[tuple[float, float]], store: Store) -> dict[str, Any]:
    """Keeps the outcome of a search; `tried` holds (factor, loss) in the order tried."""
    rates = [(search.at(factor)["training"]["lr"], loss) for factor, loss in tried]
    best = min(rates, key=lambda pair: pair[1])
    told = search.result(best[0], rates)
    write_json(store.tuning(search.key), seal(told))
    return told
