"""Feature extractors. Importing this registers ours and loads neither torch nor onnxruntime."""

from __future__ import annotations

from pathlib import Path

from cabench.metrics.extractors.base import DEFAULT, BuiltInExtractor, FeatureExtractor, Features
from cabench.metrics.extractors.lite0 import Lite0, lite0_fingerprint
from cabench.metrics.extractors.mobilenetv2 import MobileNetV2
from cabench.metrics.extractors.onnx import GPU_VERSION, OnnxExtractor
from cabench.metrics.extractors.torch_fidelity import TorchFidelityExtractor
from cabench.registry import EXTRACTORS
from cabench.runtime.devices import exact


def opened(name: str, cache: Path, device: str = "cpu", threads: int = 1) -> FeatureExtractor:
    """A registered feature extractor; one of ours runs on the GPU where `device` is one."""
    exact(device)
    extractor: FeatureExtractor = EXTRACTORS.get(name)(cache, threads)
    if device.startswith("cuda") and isinstance(extractor, OnnxExtractor):
        extractor.device = device
    return extractor


__all__ = [
    "DEFAULT",
    "GPU_VERSION",
    "BuiltInExtractor",
    "FeatureExtractor",
    "Features",
    "Lite0",
    "MobileNetV2",
    "TorchFidelityExtractor",
    "lite0_fingerprint",
    "opened",
]
