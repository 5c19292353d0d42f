"""Feature extractors. Importing this registers ours and loads neither torch nor onnxruntime."""

from __future__ import annotations

from cabench.metrics.extractors.base import DEFAULT, BuiltInExtractor, FeatureExtractor, Features
from cabench.metrics.extractors.lite0 import Lite0, lite0_fingerprint
from cabench.metrics.extractors.mobilenetv2 import MobileNetV2
from cabench.metrics.extractors.torch_fidelity import TorchFidelityExtractor

__all__ = [
    "DEFAULT",
    "BuiltInExtractor",
    "FeatureExtractor",
    "Features",
    "Lite0",
    "MobileNetV2",
    "TorchFidelityExtractor",
    "lite0_fingerprint",
]
