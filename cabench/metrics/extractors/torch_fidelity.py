"""torch-fidelity's feature extractors: Inception-v3, CLIP and DINOv2.

Weights are searched for in the directory $CABENCH_WEIGHTS (NAME.pth or NAME.pt; not for DINOv2,
which torch hub loads from its own directory), then under their published name in torch hub's
directory, and downloaded there if absent. Their sha256 is part of trial keys and records.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cabench.errors import CabenchError, DataMissing
from cabench.metrics.extractors.base import Features
from cabench.registry import EXTRACTORS
from cabench.runtime.files import file_hash

VARIABLE = "CABENCH_WEIGHTS"
VERSION = 1  # raise it when the features of the same weights change
BATCH = 32  # images
INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)
DINO_URL = "https://dl.fbaipublicfiles.com/dinov2/dinov2_{0}/dinov2_{0}_pretrain.pth"


class TorchFidelityExtractor:
    """A network of torch-fidelity with its own resizing and normalisation.

    The features are the ones of torch-fidelity's command line.
    """

    # fmt: off
    name: str                          # torch-fidelity's
    short: ClassVar[str]               # in names of metrics: fid_inception
    title: ClassVar[str]               # in their labels; "" for Inception
    widths: ClassVar[dict[str, int]]   # layer -> channels
    layers: ClassVar[dict[str, str]]   # kind of score -> layer
    # fmt: on

    def __init__(self, cache: Path, threads: int = 1):
        self.threads = threads

    @classmethod
    def fingerprint_of(cls) -> str:
        """sha256 of everything that decides a feature. Hashes the weights, opens no network."""
        path = find_weights(cls.name)
        stat = path.stat()
        facts = {
            "name": cls.name,
            "weights": _hash(path, stat.st_size, stat.st_mtime_ns),
            "layers": cls.layers,
            "version": VERSION,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _device(self) -> str:
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    @cached_property
    def _network(self) -> Any:
        from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

        # torch-fidelity opens DINOv2 only through torch hub, whose repository is beside the weights
        path = None if self.name.startswith("dinov2-") else str(find_weights(self.name))
        try:
            self.check_weights(path)
            network = FEATURE_EXTRACTORS_REGISTRY[self.name](
                self.name, list(self.widths), feature_extractor_weights_path=path, verbose=False
            )
        except (
            Exception
        ) as error:  # weights of another network, a corrupted file, no hub repository
            text = " ".join(str(error).split())[:160]
            raise CabenchError(
                f"feature extractor '{self.name}': {find_weights(self.name)} doesn't open: {text}"
            ) from None
        return network.to(self._device)

    def check_weights(self, path: str | None) -> None:
        """Raises an error where opening the weights could run code."""

    def features(self, images: np.ndarray) -> Features:
        """Images (N, 1 or 3, H, W) uint8 -> {layer: (N, D) float32}."""
        import torch

        n = len(images)
        features = {name: np.empty((n, width), np.float32) for name, width in self.widths.items()}
        for start in range(0, n, BATCH):
            part = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH]))
            part = part.expand(-1, 3, -1, -1).to(self._device)  # (B, 3, H, W)
            with torch.no_grad():
                outputs = self._network(part)  # (B, D) for each layer
            for name, values in zip(self.widths, outputs, strict=True):
                features[name][start : start + len(part)] = values.float().cpu().numpy()
        return features


def _one_layer(layer: str) -> dict[str, str]:
    """The layers of a network without classes, hence without an Inception score."""
    return {"fid": layer, "kid": layer, "prc": layer}


@EXTRACTORS.register("inception-v3-compat")
class Inception(TorchFidelityExtractor):
    """Inception-v3 with TensorFlow's 2015 weights, as in the FID paper (arXiv 1706.08500)."""

    short, title = "inception", ""
    widths = {"2048": 2048, "logits_unbiased": 1008}
    layers = {"fid": "2048", "kid": "2048", "prc": "2048", "isc": "logits_unbiased"}

    def check_weights(self, path: str | None) -> None:
        """torch-fidelity unpickles anything; what opens here holds tensors only."""
        import torch

        if path is not None:
            torch.load(path, map_location="cpu", weights_only=True)


@EXTRACTORS.register("clip-vit-b-32")
class ClipB32(TorchFidelityExtractor):
    """Image encoder of CLIP ViT-B/32 (arXiv 2103.00020)."""

    short, title = "clip_b32", "CLIP-B/32"
    widths, layers = {"clip": 512}, _one_layer("clip")


@EXTRACTORS.register("clip-vit-b-16")
class ClipB16(TorchFidelityExtractor):
    """Image encoder of CLIP ViT-B/16 (arXiv 2103.00020)."""

    short, title = "clip_b16", "CLIP-B/16"
    widths, layers = {"clip": 512}, _one_layer("clip")


@EXTRACTORS.register("clip-vit-l-14")
class ClipL14(TorchFidelityExtractor):
    """Image encoder of CLIP ViT-L/14 (arXiv 2103.00020)."""

    short, title = "clip_l14", "CLIP-L/14"
    widths, layers = {"clip": 768}, _one_layer("clip")


@EXTRACTORS.register("dinov2-vit-s-14")
class DinoS14(TorchFidelityExtractor):
    """DINOv2 ViT-S/14 (arXiv 2304.07193)."""

    short, title = "dinov2_s14", "DINOv2-S/14"
    widths, layers = {"dinov2": 384}, _one_layer("dinov2")


@EXTRACTORS.register("dinov2-vit-b-14")
class DinoB14(TorchFidelityExtractor):
    """DINOv2 ViT-B/14 (arXiv 2304.07193)."""

    short, title = "dinov2_b14", "DINOv2-B/14"
    widths, layers = {"dinov2": 768}, _one_layer("dinov2")


@EXTRACTORS.register("dinov2-vit-l-14")
class DinoL14(TorchFidelityExtractor):
    """DINOv2 ViT-L/14 (arXiv 2304.07193)."""

    short, title = "dinov2_l14", "DINOv2-L/14"
    widths, layers = {"dinov2": 1024}, _one_layer("dinov2")


def weights_url(name: str) -> str:
    """Where the weights of an extractor are published."""
    if name == "inception-v3-compat":
        return INCEPTION_URL
    if name.startswith("dinov2-"):
        return DINO_URL.format(name.removeprefix("dinov2-").replace("-", ""))
    from torch_fidelity.feature_extractor_clip import MODEL_URLS

    return MODEL_URLS[name]


def hub_directory() -> Path:
    """Where torch hub stores downloads; computed without importing torch."""
    home = (
        os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    )
    return Path(home).expanduser() / "hub" / "checkpoints"


def find_weights(name: str, download: bool = True) -> Path:
    """The file with an extractor's weights, downloaded if absent.

    Raises DataMissing with the paths that were tried, the URL and how to name the file.
    """
    directory = os.environ.get(VARIABLE)
    candidates: list[Path] = []
    if directory and not name.startswith("dinov2-"):
        candidates = [Path(directory).expanduser() / f"{name}{end}" for end in (".pth", ".pt")]
    url = weights_url(name)
    in_hub = hub_directory() / url.rsplit("/", 1)[1]
    for path in (*candidates, in_hub):
        if path.is_file():
            return path
    note = ""
    if download:
        import torch

        try:
            in_hub.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(in_hub), progress=False)
            return in_hub
        except OSError as error:  # includes URLError: no network, unknown host, a full disk
            note = f"; download failed ({' '.join(str(error).split())[:80]})"
    hint = f"download {url} as {name}.pth and set {VARIABLE} to its directory: {VARIABLE}=FOLDER"
    if directory and not candidates:
        hint = "torch hub needs its repository beside the weights: copy its directory (TORCH_HOME)"
    paths = ", ".join(map(str, [*candidates, in_hub]))
    raise DataMissing(
        f"feature extractor '{name}': expected its weights in {paths}, found none{note}; {hint}"
    )


@cache
def _hash(path: Path, size: int, modified: int) -> str:
    """sha256 of a file; size and time of modification only key the cache."""
    return file_hash(path)
