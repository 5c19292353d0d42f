"""EfficientNet-Lite0 as a feature extractor of torch-fidelity's command line and functions.

torch_fidelity.calculate_metrics(
    input1=..., input2=..., feature_extractor=register(), cuda=False, fid=True, kid=True,
    feature_extractor_weights_path=Lite0(cache).path)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

from cabench.metrics.extractors.lite0 import NAME, Lite0


class Lite0Adapter(FeatureExtractorBase):
    """Features in float64, as in `fidelity`; the weights path is the exported ONNX file."""

    def __init__(
        self,
        name: str,
        features_list: list[str],
        feature_extractor_weights_path: str | Path | None = None,
        **kwargs: Any,
    ):
        super().__init__(name, features_list)
        path = feature_extractor_weights_path
        self.extractor = Lite0(Path(".cabench"), path=Path(path) if path else None)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 1 or 3, H, W) uint8 -> (B, D) float64 for each requested layer."""
        features = self.extractor.features(images.cpu().numpy())
        return tuple(torch.from_numpy(features[name]).double() for name in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return "112", "1280"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return {"fid": "112", "kid": "1280", "prc": "1280"}[metric]

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        return torch.zeros(1, 3, 64, 64, dtype=torch.uint8)


def register() -> str:
    """Registers EfficientNet-Lite0 with torch-fidelity, once; returns its name."""
    if NAME not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(NAME, Lite0Adapter)
    return NAME
