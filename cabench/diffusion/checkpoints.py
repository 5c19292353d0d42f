"""Safetensors files with a checksum: snapshots, training states, samples."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cabench.models.model import ConditionalModel, build
from cabench.records.spec import ModelSpec, snapshot_name
from cabench.runtime.files import atomic_path
from cabench.runtime.sealed import Corrupted, read_valid

Tensors = dict[str, Tensor]


def save(path: Path, tensors: Mapping[str, Tensor], **metadata: Any) -> None:
    """Writes tensors, metadata (as JSON) and a checksum of both to a safetensors file."""
    contiguous = {name: t.cpu().contiguous() for name, t in tensors.items()}
    texts = {name: json.dumps(value) for name, value in metadata.items()}
    texts["sha256"] = digest(contiguous, texts)
    with atomic_path(path) as part:
        try:
            save_file(contiguous, part, metadata=texts)
        except SafetensorError as error:  # raised for a full disk, too
            match = re.search(r"\(os error (\d+)\)", str(error))
            code = int(match[1]) if match else errno.EIO
            raise OSError(code, os.strerror(code)) from None


def digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """sha256 of metadata and tensors."""
    sha256 = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, t in sorted(tensors.items()):
        sha256.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        sha256.update(t.contiguous().view(-1).view(torch.uint8).numpy().data)
    return sha256.hexdigest()


def load(path: Path) -> tuple[Tensors, dict[str, Any]] | None:
    """Tensors and metadata; None if the file is absent or, which is logged, corrupted."""
    return read_valid(path, _read, (SafetensorError, RuntimeError))


def _read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    with safe_open(path, "pt") as f:
        texts = dict(f.metadata() or {})
        tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 (no mapping)
    if texts.pop("sha256", None) != digest(tensors, texts):
        raise Corrupted(f"{path} is corrupted")
    return tensors, {name: json.loads(text) for name, text in texts.items()}


def load_existing(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and metadata of a file that was just written; OSError if it is corrupted or gone."""
    checkpoint = load(path)
    if checkpoint is None:
        raise OSError(errno.EIO, "corrupted or missing", str(path))
    return checkpoint


def prefixed(prefix: str, model: nn.Module) -> Tensors:
    """The parameters of a model, with a prefix before their names."""
    return {prefix + name: p.detach() for name, p in model.named_parameters()}


@torch.no_grad()
def load_prefixed(prefix: str, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copies the tensors `prefixed` named so into the model."""
    for name, p in model.named_parameters():
        p.copy_(tensors[prefix + name])


def snapshot_path(folder: Path, images: int) -> Path:
    """Where the averaged network after `images` is; `state.safetensors` is beside it."""
    return folder / snapshot_name(images)


def load_ema(spec: ModelSpec, path: Path, device: str = "cpu") -> ConditionalModel:
    """The averaged network of a snapshot, ready to sample."""
    model = build(spec)
    load_prefixed("ema.", model, load_existing(path)[0])
    return model.to(device).eval()
