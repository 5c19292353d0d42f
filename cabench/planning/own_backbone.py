"""A study on a backbone of a plugin, which neither the study nor the scale needs to name."""

from __future__ import annotations

import dataclasses

from cabench.config.study import ScaleFile, StudyFile
from cabench.models import model as _model  # noqa: F401  (registers backbones)
from cabench.registry import BACKBONES, plugin_of
from cabench.runtime.files import LOG


def plugin_backbones() -> list[str]:
    """The backbones that the loaded plugins register."""
    return [name for name in BACKBONES.names() if plugin_of(BACKBONES.get(name))]


def with_size(scale_file: ScaleFile, file: StudyFile) -> ScaleFile:
    """The scale with a size of the run's backbone, if that is a plugin's and the scale has none.

    Preset and patch are those of the study's first backbone. Logs them.
    """
    name, first = file.backbone, file.written.backbones[0]
    sizes = scale_file.scale.backbones
    if name in sizes or first not in sizes or name not in plugin_backbones():
        return scale_file
    choice = sizes[first]
    LOG.warning(
        "--backbone %s: preset %s and patch %s, as scale '%s' has them for %s",
        *(name, choice.preset, choice.patch, scale_file.scale.scale, first),
    )
    scale = scale_file.scale.model_copy(update={"backbones": {**sizes, name: choice}})
    return dataclasses.replace(scale_file, scale=scale)
