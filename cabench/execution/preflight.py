"""Checks before anything trains: what would otherwise fail after hours, or score as nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection

from cabench.config.yaml import located
from cabench.cost.macs import Uncounted, meta_macs
from cabench.errors import ConfigError
from cabench.planning.data import DataRef
from cabench.planning.trials import Plan
from cabench.plugins import Plugin, load_plugins
from cabench.records.spec import ModelSpec
from cabench.runtime.files import LOG

SECONDS = 120  # for the methods of plugins to act once


def check(plan: Plan, arms: Sequence[str]) -> None:
    """Refuses latents that cannot be decoded, and arms whose plugins do not do what they must.

    Tests check the built-in methods. An arm whose forward pass raises an error is not refused: its
    trials fail, and say why in their records.
    """
    if not arms:
        return
    _check_vae(plan.data)
    specs = {arm: plan.models[arm].spec for arm in dict.fromkeys(arms)}
    own = {arm: spec for arm, spec in specs.items() if _has_plugin(spec)}
    faults = method_faults(own, plan.plugins) | _uncounted(own)
    for arm, text in faults.items():
        with located(*plan.documents):
            raise ConfigError("study", ("arms", arm), text)


def _has_plugin(spec: ModelSpec) -> bool:
    return any(part.plugin for part in (spec.backbone, *spec.methods))


def _check_vae(data: DataRef) -> None:
    """Refuses a run on latents whose samples could not be decoded in the end."""
    if data.vae is None:
        return
    from cabench.data import load_dataset
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
