"""torch-fidelity's feature extractors by name; their weights by file.

A file is looked for in the folder $CABENCH_WEIGHTS (NAME.pth or NAME.pt; DINOv2 opens from torch
hub's alone), then under its published name in torch hub's folder, and else downloaded there. Its
sha256 is in keys and records.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from cabench.errors import CabenchError, DataMissing
from cabench.runtime.files import file_hash

VARIABLE = "CABENCH_WEIGHTS"
VERSION = 1  # raise when the features of the same weights would change
BATCH = 32  # pictures at a time
INCEPTION = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)
DINO = "https://dl.fbaipublicfiles.com/dinov2/dinov2_{0}/dinov2_{0}_pretrain.pth"


def source(name: str) -> str:
    """Where the weights of an extractor are published."""
    if name == "inception-v3-compat":
        return INCEPTION
    if name.startswith("dinov2-"):
        return DINO.format(name.removeprefix("dinov2-").replace("-", ""))
    from torch_fidelity.feature_extractor_clip import MODEL_URLS

    return MODEL_URLS[name]


def hub_folder() -> Path:
    """Where torch hub keeps what it downloads, found without importing torch."""
    home = (
        os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    )
    return Path(home).expanduser() / "hub" / "checkpoints"


def find_weights(name: str, download: bool = True) -> Path:
    """The file of an extractor's weights; DataMissing says where to put it."""
    own = os.environ.get(VARIABLE)
    asked = [Path(own).expanduser() / f"{name}{end}" for end in (".pth", ".pt")] if own else []
    if name.startswith("dinov2-"):
        asked = []  # torch hub opens its own file alone
    url = source(name)
    kept = hub_folder() / url.rsplit("/", 1)[1]
    for path in (*asked, kept):
        if path.is_file():
            return path
    note = ""
    if download:
        import torch

        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(kept), progress=False)
            return kept
        except OSError as error:  # URLError is one: no network, no such host, a full disk
            note = f"; downloading failed ({' '.join(str(error).split())[:80]})"
    how = f"get {url} and name its folder: {VARIABLE}=FOLDER, the file as {name}.pth"
    if not asked and own:
        how = "torch hub keeps its repository beside them: copy its folder (TORCH_HOME)"
    places = ", ".join(map(str, [*asked, kept]))
    raise DataMissing(
        f"feature extractor '{name}': expected its weights in {places}, found none{note}; {how}"
    )


@cache
def _hash(path: Path, size: int, changed: int) -> str:
    return file_hash(path)


class Extractor:
    """One of torch-fidelity's extractors: uint8 pictures to named features.

    Its own resizing and normalisation are part of it, so that the numbers are those of
    torch-fidelity's command line.
    """

    # fmt: off
    name: str               # torch-fidelity's
    short: str              # in the names of metrics
    title: str              # in their labels: '' is Inception, whose FID is plain "FID"
    widths: dict[str, int]  # of the layers in use
    layers: dict[str, str]  # family of metrics -> layer
    # fmt: on

    def __init__(self, cache: Path, threads: int = 1):
        self.threads = threads

    @classmethod
    def fingerprint_of(cls) -> str:
        """Hash of all that decides a feature; reads the weights, opens no network."""
        path = find_weights(cls.name)
        stat = path.stat()
        facts = {
            "name": cls.name,
            "weights": _hash(path, stat.st_size, stat.st_mtime_ns),
            "layers": cls.layers,
            "version": VERSION,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        return self.fingerprint_of()

    @cached_property
    def _device(self) -> str:
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    @cached_property
    def _network(self):
        from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

        path = str(find_weights(self.name))
        if self.name.startswith("dinov2-"):
            path = None  # torch-fidelity opens them through torch hub alone, which needs its
        try:  # repository beside the weights
            made = FEATURE_EXTRACTORS_REGISTRY[self.name](
                self.name, list(self.widths), feature_extractor_weights_path=path, verbose=False
            )
        except Exception as error:  # another network's weights, a damaged file, no hub repository
            text = " ".join(str(error).split())[:160]
            raise CabenchError(
                f"feature extractor '{self.name}': {find_weights(self.name)} doesn't open: {text}"
            ) from None
        return made.to(self._device)

    def features(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """(N, 1 or 3, H, W) uint8 to {layer: (N, width)} float32."""
        import torch

        out = {
            name: np.empty((len(images), width), np.float32) for name, width in self.widths.items()
        }
        for start in range(0, len(images), BATCH):
            part = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH]))
            part = part.expand(-1, 3, -1, -1).to(self._device)
            with torch.no_grad():
                found = self._network(part)
            for name, values in zip(self.widths, found, strict=True):
                out[name][start : start + len(part)] = values.float().cpu().numpy()
        return out


def _plain(width: int, layer: str) -> dict:
    """Of an extractor with one layer: it has no classes, hence no Inception score."""
    return {"widths": {layer: width}, "layers": {f: layer for f in ("fid", "kid", "prc")}}


TORCH_FIDELITY = (
    {
        "name": "inception-v3-compat",
        "short": "inception",
        "title": "",
        "widths": {"2048": 2048, "logits_unbiased": 1008},
        "layers": {"fid": "2048", "kid": "2048", "prc": "2048", "isc": "logits_unbiased"},
    },
    {"name": "clip-vit-b-32", "short": "clip_b32", "title": "CLIP-B/32", **_plain(512, "clip")},
    {"name": "clip-vit-b-16", "short": "clip_b16", "title": "CLIP-B/16", **_plain(512, "clip")},
    {"name": "clip-vit-l-14", "short": "clip_l14", "title": "CLIP-L/14", **_plain(768, "clip")},
    {
        "name": "dinov2-vit-s-14",
        "short": "dinov2_s14",
        "title": "DINOv2-S/14",
        **_plain(384, "dinov2"),
    },
    {
        "name": "dinov2-vit-b-14",
        "short": "dinov2_b14",
        "title": "DINOv2-B/14",
        **_plain(768, "dinov2"),
    },
    {
        "name": "dinov2-vit-l-14",
        "short": "dinov2_l14",
        "title": "DINOv2-L/14",
        **_plain(1024, "dinov2"),
    },
)
