"""MobileNetV2 as one ONNX graph, with resizing and normalisation in front."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as the weights were trained
STAGE = 13  # the last module with 96 channels


class MobileNetV2Network(nn.Module):
    """uint8 images of any size -> pooled features of two stages."""

    mean: Tensor
    std: Tensor

    def __init__(self, weights: Path, size: int):
        super().__init__()
        self.size = size
        self.net = mobilenet_v2(weights=None).features
        self.net.load_state_dict(renamed(torch.load(weights, weights_only=True), self.net))
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
        self.eval()

    def forward(self, images: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1 or 3, H, W) uint8, (size, H), (W, size) -> (B, 96), (B, 1280)."""
        x = torch.matmul(torch.matmul(rows, images.float()), columns)  # (B, 1 or 3, size, size)
        x = x.expand(images.shape[0], 3, self.size, self.size)
        x = (x / 255 - self.mean) / self.std
        stage = x
        for index, module in enumerate(self.net):
            x = module(x)
            if index == STAGE:
                stage = x.mean((2, 3))  # (B, 96)
        return stage, x.mean((2, 3))


def renamed(tensors: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The tensors by torchvision's names, which nest the blocks once more, in the same order."""
    names = net.state_dict()
    if [t.shape for t in tensors.values()] != [t.shape for t in names.values()]:
        raise ValueError("expected the tensors of MobileNetV2 without its classifier")
    return dict(zip(names, tensors.values(), strict=True))
