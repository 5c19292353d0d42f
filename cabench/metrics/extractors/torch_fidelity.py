"""torch-fidelity's feature extractors: Inception-v3, CLIP and DINOv2.

Weights are searched for in the directory $CABENCH_WEIGHTS (NAME.pth or NAME.pt), then under their
published name in torch hub's directory, and downloaded there if absent. Their sha256 is part of
trial keys and records.

Weights run no code. torch-fidelity would unpickle Inception's and run TorchScript of CLIP's, so it
gets them from memory: tensors read with `weights_only`, or a file with the published sha256. DINOv2
is built by one commit of its repository (extractors/dinov2_network.py).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from cabench.errors import CabenchError, DataMissing
from cabench.metrics.extractors.base import Features
from cabench.registry import EXTRACTORS
from cabench.runtime.files import file_hash

if TYPE_CHECKING:
    from torch import Tensor

VARIABLE = "CABENCH_WEIGHTS"
VERSION = 1  # raise it when the features of the same weights change
BATCH = 32  # images
INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
DINO_URL = "https://dl.fbaipublicfiles.com/dinov2/dinov2_{0}/dinov2_{0}_pretrain.pth"


class TorchFidelityExtractor:
    """A network of torch-fidelity with its own resizing and normalisation.

    The features are the ones of torch-fidelity's command line.
    """

    libraries = ("torch_fidelity",)
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
        path = find_weights(self.name)
        try:
            network = self.open(path)
        except CabenchError:
            raise
        except Exception as error:  # weights of another network, a corrupted file
            text = " ".join(str(error).split())[:160]
            raise CabenchError(
                f"feature extractor '{self.name}': {path} doesn't open: {text}"
            ) from None
        return network.to(self._device)

    def open(self, path: Path) -> Any:
        """The network with the weights in `path`, which run no code."""
        from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

        return FEATURE_EXTRACTORS_REGISTRY[self.name](
            self.name,
            list(self.widths),
            feature_extractor_weights_path=self.weights(path),
            verbose=False,
        )

    def weights(self, path: Path) -> io.BytesIO:
        """The weights in `path` as torch-fidelity reads them; ValueError if they could run code."""
        raise NotImplementedError

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

    def weights(self, path: Path) -> io.BytesIO:
        import torch

        buffer = io.BytesIO()
        torch.save(tensors(path), buffer)
        buffer.seek(0)
        return buffer


class Clip(TorchFidelityExtractor):
    """CLIP's image encoder. Its weights are a TorchScript program, so only published ones open."""

    def weights(self, path: Path) -> io.BytesIO:
        content, expected = path.read_bytes(), published_sha256(self.name)
        if (actual := hashlib.sha256(content).hexdigest()) != expected:
            raise ValueError(f"expected the published file, sha256 {expected}, got {actual}")
        return io.BytesIO(content)


@EXTRACTORS.register("clip-vit-b-32")
class ClipB32(Clip):
    """Image encoder of CLIP ViT-B/32 (arXiv 2103.00020)."""

    short, title = "clip_b32", "CLIP-B/32"
    widths, layers = {"clip": 512}, _one_layer("clip")


@EXTRACTORS.register("clip-vit-b-16")
class ClipB16(Clip):
    """Image encoder of CLIP ViT-B/16 (arXiv 2103.00020)."""

    short, title = "clip_b16", "CLIP-B/16"
    widths, layers = {"clip": 512}, _one_layer("clip")


@EXTRACTORS.register("clip-vit-l-14")
class ClipL14(Clip):
    """Image encoder of CLIP ViT-L/14 (arXiv 2103.00020)."""

    short, title = "clip_l14", "CLIP-L/14"
    widths, layers = {"clip": 768}, _one_layer("clip")


class Dino(TorchFidelityExtractor):
    """DINOv2's class token."""

    def open(self, path: Path) -> Any:
        from cabench.metrics.extractors.dinov2_network import dinov2

        return dinov2(self.name, list(self.widths), tensors(path))


@EXTRACTORS.register("dinov2-vit-s-14")
class DinoS14(Dino):
    """DINOv2 ViT-S/14 (arXiv 2304.07193)."""

    short, title = "dinov2_s14", "DINOv2-S/14"
    widths, layers = {"dinov2": 384}, _one_layer("dinov2")


@EXTRACTORS.register("dinov2-vit-b-14")
class DinoB14(Dino):
    """DINOv2 ViT-B/14 (arXiv 2304.07193)."""

    short, title = "dinov2_b14", "DINOv2-B/14"
    widths, layers = {"dinov2": 768}, _one_layer("dinov2")


@EXTRACTORS.register("dinov2-vit-l-14")
class DinoL14(Dino):
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


def published_sha256(name: str) -> str | None:
    """sha256 of the published weights of an extractor; None where none is published."""
    if name == "inception-v3-compat":
        return INCEPTION_SHA256
    return weights_url(name).split("/")[-2] if name.startswith("clip-") else None


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name; unpickles nothing else, and raises an error for it."""
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping) or not all(map(torch.is_tensor, content.values())):
        raise ValueError("expected tensors by name")
    return dict(content)


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
    if directory:
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
            sha256 = published_sha256(name)
            torch.hub.download_url_to_file(url, str(in_hub), sha256, progress=False)
            return in_hub
        except (OSError, RuntimeError) as error:  # no network, a full disk; another sha256
            note = f"; download failed ({' '.join(str(error).split())[:80]})"
    hint = f"download {url} as {name}.pth and set {VARIABLE} to its directory: {VARIABLE}=FOLDER"
    paths = ", ".join(map(str, [*candidates, in_hub]))
    raise DataMissing(
        f"feature extractor '{name}': expected its weights in {paths}, found none{note}; {hint}"
    )


@cache
def _hash(path: Path, size: int, modified: int) -> str:
    """sha256 of a file; size and time of modification only key the cache."""
    return file_hash(path)
