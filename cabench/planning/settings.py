"""Refuses settings of the command line (`--set`) that a run would not use."""

from __future__ import annotations

from collections.abc import Iterable

from cabench.config.scale import Scale
from cabench.config.settings import Setting
from cabench.config.yaml import value_at
from cabench.errors import ConfigError


def check_settings(settings: Iterable[Setting], scale: Scale, place: int, backbone: str) -> None:
    """`scale` is the scale on its data source at index `place`, whose values replace others."""
    used = scale.model_dump(mode="json")
    for setting in settings:
        if reason := _unused(setting, used, place, backbone):
            raise ConfigError("scale", setting.where, reason)


def _unused(setting: Setting, used: dict[str, object], place: int, backbone: str) -> str | None:
    """Why a setting has no effect on a run, or None."""
    first, second = (*setting.where, None)[:2]
    if first == "data" and second not in (None, place):
        return f"the study takes its data from data.{place}"
    if first == "backbones" and second not in (None, backbone):
        return f"the run's backbone is '{backbone}'"
    if value_at(used, setting.where) != setting.value:
        own = "patch" if first == "backbones" else setting.key
        return f"the data source has a value of its own; set data.{place}.{own}"
    return None
