"""The text half of a CLIP (arXiv 2103.00020), as U-ViT takes it: ViT-L/14's is 768 wide."""

from __future__ import annotations

from typing import Any

from cabench.registry import TEXT_ENCODERS
from cabench.text.encoder import TextEncoder, quiet


@TEXT_ENCODERS.register("clip")
class ClipText(TextEncoder):
    """A CLIP's text half; `path`: a folder, or a name such as openai/clip-vit-large-patch14."""

    def network(self) -> Any:
        from transformers import CLIPTextModel

        return quiet(CLIPTextModel, self.folder)
