"""What feature extractors in onnxruntime share: resizing inside the graph, fixed batches, export.

In onnxruntime an image's features have the same bits for every batch size, position in the batch
and number of threads. On a GPU torch runs the same network, in float32. On a CPU torch's features
differ from onnxruntime's by less than 1e-4 of their norm (tests/metrics/extractors);
tests/test_gpu.py compares those of a GPU.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cabench.metrics.extractors.base import Features
from cabench.runtime.files import file_hash
from cabench.runtime.sealed import cached_file

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from torch import nn

SIZE = 64  # pixels: every image is resized to SIZE x SIZE
OPSET = 17
BATCH = 32  # images per run, always: the last batch is padded
GPU_BATCH = 512  # the same on a GPU
GPU_VERSION = 1  # of the extraction in torch on a GPU: raise it when its features change
LEVELS = 8  # of `rounded`


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


def graph_fingerprint(name: str, weights: Path, version: int) -> str:
    """sha256 of everything that decides a network's features; opens no network."""
    facts = {
        "name": name,
        "weights": _hash(weights),
        "size": SIZE,
        "opset": OPSET,
        "version": version,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


_hash = cache(file_hash)


class OnnxExtractor:
    """A network exported to ONNX once. Opens it at first use."""

    libraries = ("onnxruntime",)
    gpu_libraries = ()
    # fmt: off
    network: ClassVar[str]             # 'EfficientNet-Lite0', in messages
    file: ClassVar[str]                # name of the exported network, before its fingerprint
    widths: ClassVar[dict[str, int]]   # layer -> channels
    size = SIZE                        # pixels that images are resized to
    # fmt: on

    def __init__(
        self,
        cache: Path,  # the exported network is written to <cache>/judge/
        threads: int = 1,  # of onnxruntime
        path: Path | None = None,  # an exported network to use instead of the cache's
    ):
        self.device = "cpu"  # 'cuda': torch runs the network there
        self.threads = threads
        self._cache = Path(cache)
        self._path = path

    @classmethod
    def network_fingerprint(cls) -> str:
        """sha256 of the exported network: weights, size and version of the graph."""
        raise NotImplementedError

    @staticmethod
    def build() -> nn.Module:
        """The network in torch: images, rows, columns -> features of each layer."""
        raise NotImplementedError

    @classmethod
    def export(cls, path: Path) -> None:
        """Writes the network as ONNX."""
        export_network(cls.build(), path, cls.size, OPSET, list(cls.widths))

    @classmethod
    def fingerprint_of(cls) -> str:
        return cls.network_fingerprint()

    @property
    def fingerprint(self) -> str:
        return self.fingerprint_of()

    @property
    def path(self) -> Path:
        """The ONNX file, exported if absent."""
        if self._path is not None:
            return Path(self._path)
        name = f"{self.file}-{self.network_fingerprint()[:16]}.onnx"
        return cached_file(self._cache / "judge" / name, self.export)

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

    @cached_property
    def _on_device(self) -> nn.Module:
        return self.build().eval().to(self.device)

    def _run(self, images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> list[np.ndarray]:
        """The features of a batch, (B, D) of each layer."""
        if self.device == "cpu":
            inputs = {"images": images, "rows": rows, "columns": columns}
            outputs = self._session.run([f"f{name}" for name in self.widths], inputs)
            return [np.asarray(values) for values in outputs]
        import torch

        tensors = (torch.from_numpy(a).to(self.device) for a in (images, rows, columns))
        with torch.no_grad():
            return [values.cpu().numpy() for values in self._on_device(*tensors)]

    def features(self, images: np.ndarray) -> Features:
        """Images (N, 1 or 3, H, W) uint8 -> {layer: (N, D)} float32, averaged over space."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(
                f"{self.network}: expected uint8 images (N, 1 or 3, H, W), got "
                f"{images.dtype} {images.shape}"
            )
        rows = resize_matrix(images.shape[2], self.size)  # (size, H)
        columns = np.ascontiguousarray(resize_matrix(images.shape[3], self.size).T)  # (W, size)
        n = len(images)
        features = {name: np.empty((n, width), np.float32) for name, width in self.widths.items()}
        size = BATCH if self.device == "cpu" else GPU_BATCH
        for start in range(0, n, size):
            part = images[start : start + size]
            batch = np.zeros((size, *images.shape[1:]), np.uint8)
            batch[: len(part)] = part
            outputs = self._run(batch, rows, columns)
            for name, values in zip(self.widths, outputs, strict=True):
                features[name][start : start + len(part)] = values[: len(part)]
        return features


class Levels(OnnxExtractor):
    """Mixin: the extractor on images that are rounded to 8 levels, which removes faint grain."""

    @classmethod
    def fingerprint_of(cls) -> str:
        facts = f"{cls.network_fingerprint()} {LEVELS} levels"
        return hashlib.sha256(facts.encode()).hexdigest()

    def features(self, images: np.ndarray) -> Features:
        return super().features(rounded(images))


def rounded(images: np.ndarray) -> np.ndarray:
    """Images uint8 with every value at the nearest of 8 levels from 0 to 255."""
    step = 255 / (LEVELS - 1)
    table = np.rint(np.rint(np.arange(256) / step) * step).astype(np.uint8)
    return table[images] if images.dtype == np.uint8 else images  # `features` refuses others


def export_network(
    network: nn.Module, path: Path, size: int, opset: int, layers: list[str]
) -> None:
    """Writes a network to `path`, with free batch, channels and image size.

    It maps (B, 1 or 3, H, W) uint8, (size, H), (W, size) to (B, D) of each layer.
    """
    import torch

    example = (
        torch.zeros(2, 1, 16, 16, dtype=torch.uint8),
        torch.zeros(size, 16),
        torch.zeros(16, size),
    )
    outputs = [f"f{name}" for name in layers]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # dynamo=False is deprecated, but dynamo needs onnxscript
        torch.onnx.export(
            network,
            example,
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=["images", "rows", "columns"],
            output_names=outputs,
            dynamic_axes={
                "images": {0: "batch", 1: "channels", 2: "height", 3: "width"},
                "rows": {1: "height"},
                "columns": {0: "width"},
                **{name: {0: "batch"} for name in outputs},
            },
        )
