"""What a text encoder is: texts -> a feature for each token, by frozen weights on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cabench.errors import DataMissing, describe
from cabench.registry import TEXT_ENCODERS, missing
from cabench.runtime.files import file_hash

TOKENS = 77  # of a text at most, begin and end among them: CLIP's length
BATCH = 32  # texts a pass, sorted by length
WEIGHTS = "model.safetensors"
WANTED = ("*.json", "*.txt", WEIGHTS)  # files of a repository on the hub


class TextEncoder:
    """A transformer of the library `transformers`, on the CPU and in float32.

    A subclass names its network; `folder` holds config.json, model.safetensors and the tokenizer.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1  # raise it whenever the same weights would give other features
    extra: ClassVar[str] = "pip install 'cabench[text]'"

    def __init__(self, path: str | None = None):
        self.path = path

    @cached_property
    def folder(self) -> Path:
        return folder_of(self.path, self.name)

    def network(self) -> Any:
        """The loaded network; its `last_hidden_state` is taken."""
        raise NotImplementedError

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of weights, tokenizer, name and version: for keys."""
        return hashlib.sha256(
            json.dumps([self.name, self.version, content_hash(self.folder)]).encode()
        ).hexdigest()

    @cached_property
    def width(self) -> int:
        """F, numbers of a token's feature."""
        config = json.loads((self.folder / "config.json").read_text("utf-8"))
        config = config.get("text_config") or config  # of a whole CLIP: its text half
        return int(config["hidden_size"])

    @cached_property
    def tokenizer(self) -> Any:
        return tokenizer_of(self.folder)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token numbers of each text, cut at TOKENS."""
        return [found.ids for found in self.tokenizer.encode_batch(list(texts))]

    def features(self, texts: Sequence[str]) -> list[np.ndarray]:
        """(tokens of it, F) float32 for each text."""
        import torch

        from cabench.runtime.threads import one_thread

        ids = self.ids(texts)
        order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), i))  # little padding
        made: list[np.ndarray] = [np.empty(0)] * len(ids)
        with one_thread(), torch.inference_mode():
            model = self.network()
            for start in range(0, len(order), BATCH):
                part = order[start : start + BATCH]
                longest = len(ids[part[-1]])
                padded = torch.zeros(len(part), longest, dtype=torch.long)
                mask = torch.zeros(len(part), longest, dtype=torch.long)
                for row, i in enumerate(part):
                    padded[row, : len(ids[i])] = torch.tensor(ids[i])
                    mask[row, : len(ids[i])] = 1
                out = model(input_ids=padded, attention_mask=mask).last_hidden_state.float()
                for row, i in enumerate(part):
                    made[i] = out[row, : len(ids[i])].numpy().copy()
        return made


def folder_of(path: str | None, what: str) -> Path:
    """The folder itself, or what the hub's cache or the hub has under that name."""
    if path is None:
        raise DataMissing(f"'{what}' needs `path`: a folder with its weights, or a name on the hub")
    if Path(path).is_dir():
        return _checked(Path(path), what)
    if path.count("/") != 1 or path.startswith((".", "~", "/")):
        raise DataMissing(f"'{what}': looked for the folder {path}, found none")
    try:
        from huggingface_hub import snapshot_download

        try:
            found = snapshot_download(path, allow_patterns=list(WANTED), local_files_only=True)
        except Exception:  # not held on this machine
            found = snapshot_download(path, allow_patterns=list(WANTED))
    except Exception as error:  # whatever the hub's client raises without a network
        raise DataMissing(
            f"'{what}': looked for the folder {path} and for that name on the hub, found neither "
            f"({describe(error)[:200]})"
        ) from None
    return _checked(Path(found), what)


def _checked(folder: Path, what: str) -> Path:
    for name in ("config.json", WEIGHTS):
        if not (folder / name).is_file():
            raise DataMissing(f"'{what}': looked for {folder / name}, found none")
    return folder


@lru_cache
def content_hash(folder: Path) -> str:
    """sha256 over the config, the weights, the tokenizer's files and the picture processor's."""
    names = ["config.json", WEIGHTS, "tokenizer.json", "vocab.json", "merges.txt", "vocab.txt"]
    names += ["preprocessor_config.json"]  # of a CLIP: how it looks at pictures
    if not (folder / "tokenizer.json").is_file():  # then it decides how the others are read
        names += ["tokenizer_config.json"]
    facts = {name: file_hash(folder / name) for name in names if (folder / name).is_file()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def tokenizer_of(folder: Path) -> Any:
    """A tokenizer of the library `tokenizers` that cuts at TOKENS and doesn't pad."""
    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            from tokenizers import Tokenizer

            made = Tokenizer.from_file(str(path))
        else:  # older repositories hold the vocabulary alone
            from transformers import AutoTokenizer

            made = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    except ImportError:
        raise DataMissing(f"text: no package 'transformers'; {TextEncoder.extra}") from None
    except Exception as error:  # what a damaged file makes the library raise
        raise DataMissing(f"text: {path} doesn't read ({describe(error)[:200]})") from None
    made.no_padding()
    made.enable_truncation(TOKENS)
    return made


def quiet(load: Any, folder: Path, **options: Any) -> Any:
    """`load.from_pretrained(folder)` in float32, frozen, without its talk of unused weights."""
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        model = load.from_pretrained(folder, dtype=torch.float32, **options)
    except Exception as error:  # weights that don't fit the config, a damaged file
        raise DataMissing(f"text: {folder} doesn't load ({describe(error)[:200]})") from None
    return model.eval().requires_grad_(False)


@lru_cache(maxsize=4)
def encoder(name: str, path: str | None = None) -> TextEncoder:
    """The encoder registered as `name`, its weights at `path` (a folder, or a name on the hub)."""
    return TEXT_ENCODERS.get(name)(path)


def contract(entry: Any) -> str | None:
    """What is wrong with a registered text encoder, or None."""
    return missing(entry, ("version", "width", "fingerprint", "ids", "features"))


TEXT_ENCODERS.contract = contract
