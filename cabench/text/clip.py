"""CLIP's text encoder (Radford et al. 2021, arXiv 2103.00020); ViT-L/14's width is 768."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cabench.registry import TEXT_ENCODERS
from cabench.text.encoder import TextEncoder, quiet

if TYPE_CHECKING:
    from torch import nn


@TEXT_ENCODERS.register("clip")
class ClipText(TextEncoder):
    """CLIP's text encoder; `path`: a folder, or a name such as openai/clip-vit-large-patch14."""

    def network(self) -> nn.Module:
        from transformers import CLIPTextModel

        return quiet(CLIPTextModel, self.folder)
