"""CLIP score: 100 x the cosine of a sample and its prompt in a CLIP (arXiv 2103.00020), mean of n.

The CLIP is a folder saved by transformers, or a name on the hub. Prompts are the data's texts, or
class names in a template. Prompts longer than 77 tokens are cut.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cabench.errors import CabenchError, DataMissing, describe
from cabench.text.encoder import content_hash, folder_of, quiet, tokenizer_of

TEMPLATE = "a photo of a {}"
BATCH = 32


@dataclass(frozen=True)
class Clip:
    """A CLIP and the wording of its prompts; `template` None: the data's own texts."""

    path: str
    template: str | None = None

    @cached_property
    def folder(self) -> Path:
        return folder_of(self.path, "CLIP score")

    @property
    def fingerprint(self) -> str:
        """sha256 of config, weights and tokenizer."""
        return content_hash(self.folder)

    @property
    def spec(self) -> dict[str, Any]:
        """What decides the score, for keys and records; what scoring needs is there."""
        if importlib.util.find_spec("transformers") is None:
            raise DataMissing("CLIP score: no package 'transformers'; pip install 'cabench[text]'")
        if not (look := self.folder / "preprocessor_config.json").is_file():
            raise DataMissing(f"CLIP score: looked for {look}, found none")
        return {"fingerprint": self.fingerprint, "template": self.template}

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        from transformers import CLIPImageProcessor, CLIPModel

        model = quiet(CLIPModel, self.folder)
        try:
            look = CLIPImageProcessor.from_pretrained(self.folder)
        except Exception as error:  # no preprocessor_config.json, or a damaged one
            raise DataMissing(
                f"CLIP score: {self.folder / 'preprocessor_config.json'} doesn't read "
                f"({describe(error)[:200]})"
            ) from None
        return model, look, tokenizer_of(self.folder)

    def score(self, images: np.ndarray, prompts: Sequence[str]) -> float:
        """Of pictures (n, 1 or 3, H, W) uint8 and their n prompts, in float32."""
        import torch

        from cabench.runtime.threads import one_thread

        model, look, tokenizer = self._parts
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = model.to(device)
        found = []
        with one_thread(), torch.inference_mode():
            for start in range(0, len(images), BATCH):
                part = images[start : start + BATCH]
                rgb = [np.repeat(p, 3, axis=0) if len(p) == 1 else p for p in part]
                pixels = look(images=[p.transpose(1, 2, 0) for p in rgb], return_tensors="pt")
                ids, mask = padded(tokenizer, prompts[start : start + BATCH])
                out = model(
                    input_ids=ids.to(device),
                    attention_mask=mask.to(device),
                    pixel_values=pixels["pixel_values"].to(device),
                )
                # Of length one each
                found.append((out.image_embeds * out.text_embeds).double().sum(1).cpu())
        return 100 * float(torch.cat(found).mean())


def padded(tokenizer: Any, prompts: Sequence[str]) -> tuple[Any, Any]:
    """Token ids and mask, each (B, L).

    A text is padded with its own last token, the end token: CLIP reads the features at the first
    end token, or at the largest id.
    """
    import torch

    ids = [found.ids for found in tokenizer.encode_batch(list(prompts))]
    longest = max(map(len, ids))
    rows = [row + [row[-1]] * (longest - len(row)) for row in ids]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in ids]
    return torch.tensor(rows), torch.tensor(mask)


def wording(told: str, names: Sequence[str], labels: np.ndarray) -> list[str]:
    """Each label's class name in the template, with blanks for what joins words in names."""
    if any(re.fullmatch(r"n\d{8}", name) for name in names):
        raise CabenchError(
            f"clip_score: class '{names[0]}' is an id, no name; put LOC_synset_mapping.txt into "
            "the folder of pictures"
        )
    return [told.format(names[label].replace("_", " ").replace("-", " ")) for label in labels]
