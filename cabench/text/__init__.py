"""Text encoders and token features. Importing this package loads neither torch nor transformers."""

from __future__ import annotations

from cabench.text import clip, minilm  # noqa: F401  (they register)
from cabench.text.encoder import TOKENS, TextEncoder, encoder
from cabench.text.features import STREAM, Encoded, encode, first, sentences

__all__ = [
    "STREAM",
    "TOKENS",
    "Encoded",
    "TextEncoder",
    "encode",
    "encoder",
    "first",
    "sentences",
]
