"""The tiny study and its scale with every backbone."""

from __future__ import annotations

from pathlib import Path

from conftest import TINY_SCALE, TINY_STUDY
from invalid import put

from cabench.config.study import ScaleFile, read_scale


def on_all(folder: Path, old: str = "", new: str = "") -> tuple[Path, ScaleFile]:
    """The study, in which `new` replaces `old`, and the scale."""
    assert old in TINY_STUDY
    text = TINY_STUDY.lstrip().replace(old, new, 1) if old else TINY_STUDY.lstrip()
    text = text.replace("baseline:", "backbones: [dit, uvit, cat]\nbaseline:", 1)
    sizes = "".join(f"  {name}: {{preset: micro, patch: 4}}\n" for name in ("uvit", "cat"))
    scale = TINY_SCALE.lstrip().replace("backbones:\n", f"backbones:\n{sizes}")
    path = put(folder / "all.yaml", text)
    return path, read_scale(str(put(folder / "scales.yaml", scale)))
