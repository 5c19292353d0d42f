"""The weights that a scale's trainings start from: read, hashed, and checked against every arm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cabench.config.scale import Scale
from cabench.diffusion.initial import adopted, read_weights
from cabench.errors import CabenchError, ConfigError, listed
from cabench.models.model import build_meta
from cabench.records.spec import ModelSpec
from cabench.runtime.files import LOG, file_hash


def find_weights(scale: Scale, models: Mapping[str, ModelSpec]) -> str | None:
    """The sha256 of `training.init_from`; None without. Logs how much of each arm it fills.

    ConfigError if the file cannot be read, or if no tensor fits an arm.
    """
    if scale.training.init_from is None:
        return None
    path, where = Path(scale.training.init_from), ("training", "init_from")
    try:
        tensors, sha256 = read_weights(path), file_hash(path)
    except CabenchError as error:
        raise ConfigError("scale", where, str(error)) from None
    shares = {}
    for arm, spec in models.items():
        model = build_meta(spec)
        taken = sum(adopted(model, tensors).values())
        if not taken:
            names = listed(list(tensors)[:3])
            text = f"no tensor of {path} has the name and shape of a parameter of arm '{arm}'"
            raise ConfigError("scale", where, f"{text}; its first names are {names}")
        shares[arm] = taken / sum(p.numel() for p in model.parameters())
    parts = ", ".join(f"{arm} {share:.0%}" for arm, share in shares.items())
    LOG.warning("init_from %s: share of each arm's parameters that start there: %s", path, parts)
    return sha256
