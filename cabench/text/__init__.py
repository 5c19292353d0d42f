"""Text as a stream: `encoder(name, path)` makes one, `encoded(dataset, ...)` adds its features.

Importing this loads neither torch nor transformers.
"""

from __future__ import annotations

from cabench.text import clip, minilm  # noqa: F401  (they register)
from cabench.text.encoder import TOKENS, TextEncoder, encoder
from cabench.text.features import STREAM, Encoded, distinct_texts, encode, encoded, first, sentences

__all__ = [
    "STREAM",
    "TOKENS",
    "Encoded",
    "TextEncoder",
    "distinct_texts",
    "encode",
    "encoded",
    "encoder",
    "first",
    "sentences",
]
