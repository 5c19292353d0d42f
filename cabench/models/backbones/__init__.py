"""Backbones, one file each. Importing this package registers them."""

from cabench.models.backbones import cat as cat
from cabench.models.backbones import dit as dit
from cabench.models.backbones import uvit as uvit
from cabench.registry import BACKBONES, missing


def contract(backbone: type) -> str | None:
    """What is wrong with a registered backbone, or None."""
    sizes = ("presets", "sizes", "condition_width")
    required = ("version", "hooks", "sites", "native", *sizes, "describe", "problem")
    return missing(backbone, required)


BACKBONES.contract = contract
