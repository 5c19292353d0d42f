"""Checks before anything trains: what would otherwise fail after hours, or score as nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

from cabench.config.scale import Scale
from cabench.config.yaml import located
from cabench.cost.macs import Uncounted, meta_macs
from cabench.data import Dataset, load_dataset
from cabench.data.resampling import resampled
from cabench.errors import CabenchError, ConfigError, describe, listed
from cabench.metrics import first_scores
from cabench.metrics.clip import Clip
from cabench.metrics.libraries import import_fault
from cabench.planning.data import DataRef
from cabench.planning.trials import Plan
from cabench.plugins import Plugin, load_plugins
from cabench.records.spec import ModelSpec
from cabench.registry import BACKBONES, METRICS, plugin_of
from cabench.runtime.files import LOG

SECONDS = 120  # for the methods of plugins to act once


def check(plan: Plan, arms: Sequence[str], cache: Path | None = None) -> None:
    """Refuses what cannot be decoded or scored, and plugins that do not do what they must.

    Features of real images go to the cache, if one is given, as in a run; else nowhere.
    Tests check the built-in methods. An arm whose forward pass raises an error is not refused: its
    trials fail, and say why in their records.
    """
    if not arms:
        return
    _check_vae(plan.data)
    for name in plan.scale.metrics:
        _refuse_metric(name, import_fault(name, plan.scores_on_gpu), plan)
    specs = {arm: plan.models[arm].spec for arm in dict.fromkeys(arms)}
    own = {arm: spec for arm, spec in specs.items() if _has_plugin(spec)}
    faults = method_faults(own, plan.plugins) | _uncounted(own) | _undescribed(own)
    for arm, text in faults.items():
        with located(*plan.documents):
            raise ConfigError("study", ("arms", arm), text)
    for name in plan.scale.metrics:
        if plugin_of(METRICS.get(name)):
            _refuse_metric(name, _metric_fault(name, plan, specs, cache), plan)


def _has_plugin(spec: ModelSpec) -> bool:
    return any(part.plugin for part in (spec.backbone, *spec.methods))


def _check_vae(data: DataRef) -> None:
    """Refuses a run on latents whose samples could not be decoded in the end."""
    if data.vae is None:
        return
    from cabench.data.vae import VAE

    if (source := load_dataset(data.source, **data.options).vae) is not None:
        VAE.of(source)


def _uncounted(specs: Mapping[str, ModelSpec]) -> dict[str, str]:
    """Arms whose MACs cannot be counted in the end."""
    faults = {}
    for arm, spec in specs.items():
        try:
            meta_macs(spec)
        except Uncounted as error:
            faults[arm] = str(error)
        except (Exception, SystemExit):
            continue
    return faults


def _undescribed(specs: Mapping[str, ModelSpec]) -> dict[str, str]:
    """Arms whose backbone cannot be described in records, as it is after the training."""
    faults = {}
    for arm, spec in specs.items():
        if not spec.backbone.plugin:
            continue
        part = f"backbone '{spec.backbone.kind}': describe"
        try:
            text = BACKBONES.get(spec.backbone.kind).describe(spec.backbone.dump())
        except (Exception, SystemExit) as error:
            faults[arm] = f"{part}: {describe(error)}"
            continue
        if not (isinstance(text, str) and text.strip()):
            faults[arm] = f"{part}: expected a text, got {text!r}"
    return faults


# ---- metrics ------------------------------------------------------------------------------------


def _refuse_metric(name: str, fault: str | None, plan: Plan) -> None:
    if fault is not None:
        with located(*plan.documents):
            raise ConfigError("scale", ("metrics",), f"metric '{name}': {fault}")


def _metric_fault(
    name: str, plan: Plan, specs: Mapping[str, ModelSpec], cache: Path | None
) -> str | None:
    """What is wrong with a plugin's metric of the data's real images, or of an untrained network.

    Logs where its direction looks wrong: noise that it finds better than real images.
    """
    if plan.data.missing:
        return None
    dataset = load_dataset(plan.data.source, **plan.data.options)
    if plan.data.resample:
        dataset = resampled(dataset, seed=0)
    try:
        if METRICS.get(name).needs == "model":
            return _network_fault(name, dataset, next(iter(specs.values())))
        with TemporaryDirectory() as folder:
            n = first_scores.samples(name, plan.scale.sampling.n)
            clip = _clip(plan.scale) if plan.data.clip else None
            scores = first_scores.of_images(name, dataset, n, cache or Path(folder), clip)
    except CabenchError as error:
        return str(error)
    except (Exception, SystemExit) as error:  # whatever a plugin's code raises
        return describe(error)
    if scores.finite and not scores.noise_is_worse:
        word = "higher" if scores.higher_is_better else "lower"
        LOG.warning(
            "metric '%s': %s is better, and noise is not worse than real images: %s",
            *(name, word, scores.text),
        )
    return None if scores.finite else scores.text


def _clip(scale: Scale) -> Clip | None:
    return Clip(scale.clip.path, scale.clip.template) if scale.clip else None


def _network_fault(name: str, dataset: Dataset, spec: ModelSpec) -> str | None:
    if spec.embedder.text:  # whose encoded texts take minutes
        return None
    values = first_scores.of_network(name, dataset, spec)
    if name not in values:
        return f"expected its own value among those it returns, got {listed(values)}"
    wrong = [key for key, value in values.items() if not math.isfinite(value)]
    return f"expected finite numbers, got {values[wrong[0]]} for {wrong[0]}" if wrong else None


# ---- methods ------------------------------------------------------------------------------------


def method_faults(specs: Mapping[str, ModelSpec], plugins: Sequence[Plugin]) -> dict[str, str]:
    """Arms whose methods do not act, or not on their source, and why (`models.contract`).

    In a process of its own, which a plugin's code may end.
    """
    if not specs:
        return {}
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_faults, args=(sender, dict(specs), tuple(plugins)))
    process.start()
    sender.close()
    try:
        if receiver.poll(SECONDS):
            return receiver.recv()
        LOG.warning("the methods of plugins took over %d s to act once; not checked", SECONDS)
    except EOFError:  # the plugin's code ended the process; its trials say why
        pass
    finally:
        process.kill()
        process.join()
    return {}


def _send_faults(
    sender: Connection, specs: dict[str, ModelSpec], plugins: tuple[Plugin, ...]
) -> None:
    sender.send(_faults(specs, plugins))


def _faults(specs: dict[str, ModelSpec], plugins: tuple[Plugin, ...]) -> dict[str, str]:
    import torch

    torch.set_num_threads(1)
    load_plugins(plugins)
    from cabench.models.contract import fault

    faults = {}
    for arm, spec in specs.items():
        try:
            text = fault(spec)
        except (Exception, SystemExit):
            continue
        if text is not None:
            faults[arm] = text
    return faults
