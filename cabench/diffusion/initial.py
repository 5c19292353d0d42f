"""Weights that training starts from: a snapshot of ours, or a state dict with DiT's names.

A parameter takes the tensor of its name if the shapes agree; the others keep their initial values,
so an arm's own method starts as it would without. A table of another number of classes takes the
row of the null condition alone.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from cabench.errors import CabenchError, one_line
from cabench.runtime.files import is_special

Tensors = dict[str, Tensor]
AVERAGE = "ema."  # before the names in our snapshots
NESTED = ("ema", "model", "state_dict")  # keys under which published checkpoints hold the weights
TABLE = re.compile(r"embedder\.categories\.\w+\.table\.weight")


def read_weights(path: Path) -> Tensors:
    """The tensors of a file under our names; CabenchError if it holds none.

    `.safetensors`, or a file of torch.save, of which only tensors are read, never code.
    """
    try:
        if is_special(path):  # opening a pipe could block
            raise ValueError("not a regular file")
        tensors = _safetensors(path) if path.suffix == ".safetensors" else _torch_file(path)
    except (OSError, SafetensorError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        reason = getattr(error, "strerror", None) or one_line(str(error))[:120]
        raise CabenchError(f"{path} cannot be read as weights: {reason}") from None
    tensors = {name.removeprefix(AVERAGE): tensor for name, tensor in tensors.items()}
    if "x_embedder.proj.weight" in tensors:
        tensors = from_dit(tensors)
    if not tensors:
        raise CabenchError(f"{path} holds no tensors")
    return tensors


def _safetensors(path: Path) -> Tensors:
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        averaged = [name for name in names if name.startswith(AVERAGE)]
        return {name: file.get_tensor(name) for name in averaged or names}


def _torch_file(path: Path) -> Tensors:
    content = torch.load(path, map_location="cpu", weights_only=True)
    for key in NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise ValueError(f"expected a state dict, got {type(content).__name__}")
    return {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}


def from_dit(tensors: Mapping[str, Tensor]) -> Tensors:
    """The tensors of a DiT under our names and in our order of rows.

    The names are those of its repository (facebookresearch/DiT, models.py). A learned variance, the
    second half of its output channels, is left out, as are unknown names.
    """
    patches = tensors["x_embedder.proj.weight"]  # (D, C, p, p)
    channels, patch = patches.shape[1], patches.shape[2]
    ours: Tensors = {"backbone.patch_embed.weight": patches.flatten(1)}
    if "x_embedder.proj.bias" in tensors:
        ours["backbone.patch_embed.bias"] = tensors["x_embedder.proj.bias"]
    depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    for name, tensor in tensors.items():
        part, _, kind = name.rpartition(".")  # kind: weight or bias
        block = re.fullmatch(r"blocks\.(\d+)\.(.+)", part)
        number, layer = (int(block[1]), block[2]) if block else (depth, part)
        if block and layer in DIT_LAYERS:
            ours[f"backbone.blocks.{number}.{DIT_LAYERS[layer]}.{kind}"] = tensor
        elif layer in DIT_PARTS:
            ours[f"{DIT_PARTS[layer]}.{kind}"] = tensor
        elif layer.endswith("adaLN_modulation.1"):  # of a block: attention's rows, then the MLP's
            for i, rows in enumerate(tensor.chunk(2 if block else 1)):
                ours[f"methods.adaln_zero.maps.{2 * number + i}.{kind}"] = rows
        elif layer == "final_layer.linear":  # rows (p, p, C or 2 C), ours (C, p, p)
            rows = tensor.unflatten(0, (patch, patch, -1))[:, :, :channels]
            ours[f"backbone.head.{kind}"] = rows.movedim(2, 0).flatten(0, 2)
    return ours


DIT_PARTS = {
    "t_embedder.mlp.0": "embedder.timestep.expand",
    "t_embedder.mlp.2": "embedder.timestep.project",
    "y_embedder.embedding_table": "embedder.categories.label.table",
}
DIT_LAYERS = {
    "attn.qkv": "attn.qkv",
    "attn.proj": "attn.out",
    "mlp.fc1": "ffn.expand",
    "mlp.fc2": "ffn.project",
}


def adopted(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """{parameter: numbers that it takes} of those that `adopt` changes; needs shapes alone."""
    shares: dict[str, int] = {}
    for name, p in model.named_parameters():
        tensor = tensors.get(name)
        if tensor is None:
            continue
        if tensor.shape == p.shape:
            shares[name] = p.numel()
        elif TABLE.fullmatch(name) and tensor.shape[1:] == p.shape[1:]:
            shares[name] = p.shape[1]
    return shares


@torch.no_grad()
def adopt(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copies the tensors that fit into the model."""
    fitting = adopted(model, tensors)
    for name, p in model.named_parameters():
        if name not in fitting:
            continue
        if tensors[name].shape == p.shape:
            p.copy_(tensors[name])
        else:
            p[-1].copy_(tensors[name][-1])  # the null condition
