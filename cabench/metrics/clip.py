"""CLIP score: the mean of 100 x the cosine of a sample and its prompt in a CLIP.

Hessel et al., arXiv 2104.08718, without their cut at 0 and factor 2.5. The CLIP (arXiv 2103.00020)
is a directory saved by transformers, or a name on the hub. Prompts are the data's texts, or class
names in a template; prompts longer than 77 tokens are truncated.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cabench.errors import CabenchError, DataMissing, describe
from cabench.metrics.extractors.base import on_white
from cabench.text.encoder import content_hash, folder_of, quiet, tokenizer_of

if TYPE_CHECKING:
    from torch import Tensor

TEMPLATE = "a photo of a {}"
BATCH = 32  # images


@dataclass(frozen=True)
class Clip:
    """A CLIP and the template of its prompts."""

    path: str  # a directory, or a name on the hub
    template: str | None = None  # "a photo of a {}" for class names; None: the data's texts

    @cached_property
    def folder(self) -> Path:
        """The directory with config, weights and tokenizer."""
        return folder_of(self.path, "CLIP score")

    @property
    def fingerprint(self) -> str:
        """sha256 of config, weights and tokenizer."""
        return content_hash(self.folder)

    @property
    def spec(self) -> dict[str, Any]:
        """What decides the score, for keys; raises DataMissing if scoring lacks anything."""
        if importlib.util.find_spec("transformers") is None:
            raise DataMissing("CLIP score: no package 'transformers'; pip install 'cabench[text]'")
        path = self.folder / "preprocessor_config.json"
        if not path.is_file():
            raise DataMissing(f"CLIP score: expected {path}, which does not exist")
        return {"fingerprint": self.fingerprint, "template": self.template}

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        from transformers import CLIPImageProcessor, CLIPModel

        model = quiet(CLIPModel, self.folder)
        try:
            processor = CLIPImageProcessor.from_pretrained(self.folder)
        except Exception as error:  # preprocessor_config.json is absent or corrupted
            raise DataMissing(
                f"CLIP score: {self.folder / 'preprocessor_config.json'} doesn't read "
                f"({describe(error)[:200]})"
            ) from None
        return model, processor, tokenizer_of(self.folder)

    def score(self, images: np.ndarray, prompts: Sequence[str]) -> float:
        """The score of images (n, C, H, W) uint8 and their n prompts, in float32."""
        import torch

        from cabench.runtime.threads import one_thread

        model, processor, tokenizer = self._parts
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = model.to(device)
        cosines = []
        with one_thread(), torch.inference_mode():
            for start in range(0, len(images), BATCH):
                part = on_white(images[start : start + BATCH])
                rgb = [np.repeat(p, 3, axis=0) if len(p) == 1 else p for p in part]
                pixels = processor(images=[p.transpose(1, 2, 0) for p in rgb], return_tensors="pt")
                ids, mask = padded(tokenizer, prompts[start : start + BATCH])
                out = model(
                    input_ids=ids.to(device),
                    attention_mask=mask.to(device),
                    pixel_values=pixels["pixel_values"].to(device),
                )
                # both embeddings have unit length
                cosines.append((out.image_embeds * out.text_embeds).double().sum(1).cpu())
        return 100 * float(torch.cat(cosines).mean())


def padded(tokenizer: Any, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids (B, L) int64 and mask (B, L) of prompts.

    Padded with each prompt's last token, its end token, because CLIP pools at the first end token
    or at the largest id.
    """
    import torch

    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(prompts))]
    longest = max(map(len, ids))
    rows = [row + [row[-1]] * (longest - len(row)) for row in ids]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in ids]
    return torch.tensor(rows), torch.tensor(mask)


def wording(template: str, names: Sequence[str], labels: np.ndarray) -> list[str]:
    """The class name of each label (n,) in the template, with spaces for "_" and "-"."""
    if any(re.fullmatch(r"n\d{8}", name) for name in names):
        raise CabenchError(
            f"clip_score: expected class names, got the id '{names[0]}'; put "
            "LOC_synset_mapping.txt into the directory of the images"
        )
    return [template.format(names[int(i)].replace("_", " ").replace("-", " ")) for i in labels]
