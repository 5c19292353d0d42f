"""EfficientNet-Lite0 as one ONNX graph, with resizing and normalisation in front."""

from __future__ import annotations

from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

MEAN, STD = 127.0, 128.0  # of TensorFlow's efficientnet_lite_builder.py, the weights' source
STAGE = 10  # the last block with 112 channels


class Lite0Network(nn.Module):
    """uint8 images of any size -> pooled features of two stages."""

    def __init__(self, weights: Path, size: int):
        super().__init__()
        self.size = size
        self.net = EfficientNet.from_name("efficientnet-lite0")
        self.net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.eval()

    def forward(self, images: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1 or 3, H, W) uint8, (size, H), (W, size) -> (B, 112), (B, 1280)."""
        x = torch.matmul(torch.matmul(rows, images.float()), columns)  # (B, 1 or 3, size, size)
        x = ((x - MEAN) / STD).expand(images.shape[0], 3, self.size, self.size)
        net, act = self.net, self.net._swish  # ReLU6 in Lite
        x = act(net._bn0(net._conv_stem(x)))  # (B, 32, size / 2, size / 2)
        stage = x
        for index, block in enumerate(net._blocks):
            x = block(x)
            if index == STAGE:
                stage = x.mean((2, 3))  # (B, 112)
        x = act(net._bn1(net._conv_head(x)))  # (B, 1280, size / 32, size / 32)
        return stage, x.mean((2, 3))
