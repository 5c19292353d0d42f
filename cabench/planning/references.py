"""Checks the names in studies and scales against what is registered, plugins included."""

from __future__ import annotations

from collections.abc import Iterable

from cabench import metrics
from cabench.config.cost_study import CostStudy
from cabench.config.scale import Scale
from cabench.config.schema import Claim, Study
from cabench.errors import ConfigError, Where, listed, unknown
from cabench.models import model as _model  # noqa: F401  (registers backbones and methods)
from cabench.registry import BACKBONES, METRICS


def check_study(study: Study) -> None:
    """Refuses unknown backbones and metrics, and metrics that no verdict may rest on."""
    _check_known("study", ("primary",), "metric", study.primary, metrics.names())
    for i, name in enumerate(study.backbones):
        _check_known("study", ("backbones", i), "backbone", name, BACKBONES.names())
    for name, arm in study.arms.items():
        if arm.network is not None:
            where = ("arms", name, "network")
            _check_known("study", where, "backbone", arm.network, BACKBONES.names())
    for name in study.margins:
        _check_known("study", ("margins", name), "metric", name, metrics.names())
    for i, claim in enumerate(study.claims):
        if claim.test != "by_construction":
            _check_claim(claim, ("claims", i, "metric"))


def _check_claim(claim: Claim, where: Where) -> None:
    for name in [claim.metric] if isinstance(claim.metric, str) else claim.metric:
        _check_known("study", where, "metric", name, metrics.names())
        if unfit := getattr(METRICS.get(name), "unfit", str)():
            raise ConfigError("study", where, f"'{name}': {unfit}")


def check_scale(scale: Scale, backbone: str) -> None:
    """Refuses unknown metrics, and a scale that does not support the backbone."""
    lists: list[tuple[Where, list[str]]] = [(("metrics",), scale.metrics)]
    lists += [(("data", i, "metrics"), d.metrics) for i, d in enumerate(scale.data) if d.metrics]
    for where, names in lists:
        for i, name in enumerate(names):
            _check_known("scale", (*where, i), "metric", name, metrics.names())
    if backbone not in scale.backbones:
        text = f"expected the backbone '{backbone}', got {listed(scale.backbones)}"
        raise ConfigError("scale", ("backbones",), text)
    preset, presets = scale.backbones[backbone].preset, BACKBONES.get(backbone).presets
    _check_known("scale", ("backbones", backbone, "preset"), "preset", preset, presets)


def check_cost_study(study: CostStudy) -> None:
    """Refuses unknown backbones and presets, and patches that do not fit."""
    for name, model in study.models.items():
        where = ("models", name)
        _check_known("study", (*where, "backbone"), "backbone", model.backbone, BACKBONES.names())
        backbone = BACKBONES.get(model.backbone)
        _check_known("study", (*where, "preset"), "preset", model.preset, backbone.presets)
        if problem := backbone.problem(model.shape, model.patch):
            raise ConfigError("study", (*where, "patch"), problem)


def _check_known(document: str, where: Where, what: str, name: str, allowed: Iterable[str]) -> None:
    if name not in (allowed := list(allowed)):
        raise ConfigError(document, where, unknown(what, name, allowed))
