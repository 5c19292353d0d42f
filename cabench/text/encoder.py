"""Text encoders: frozen transformers that turn texts into token features."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from cabench.errors import DataMissing, describe
from cabench.registry import TEXT_ENCODERS, missing
from cabench.runtime.files import file_hash

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn
    from transformers import PreTrainedModel

Model = TypeVar("Model", bound="PreTrainedModel")

TOKENS = 77  # CLIP's maximum length, with begin and end tokens; longer texts are truncated
BATCH = 32  # texts per forward pass, sorted by length
WEIGHTS = "model.safetensors"
DOWNLOADS = ("*.json", "*.txt", WEIGHTS)  # files fetched from a repository on the hub


class TextEncoder(ABC):
    """An encoder from the `transformers` library, run on the CPU in float32.

    A subclass loads its network. The folder holds config.json, model.safetensors and a tokenizer.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1  # raised when the same weights would give other features
    extra: ClassVar[str] = "pip install 'cabench[text]'"

    def __init__(self, path: str | None = None):
        self.path = path

    @cached_property
    def folder(self) -> Path:
        """The folder with weights and tokenizer; DataMissing if there is none."""
        return folder_of(self.path, self.name)

    @abstractmethod
    def network(self) -> nn.Module:
        """The loaded network; the features are its output's `last_hidden_state`."""

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of name, version, weights and tokenizer, for content keys."""
        return hashlib.sha256(
            json.dumps([self.name, self.version, content_hash(self.folder)]).encode()
        ).hexdigest()

    @cached_property
    def width(self) -> int:
        """F, the width of a token's feature."""
        config = json.loads((self.folder / "config.json").read_text("utf-8"))
        config = config.get("text_config") or config  # of a full CLIP
        return int(config["hidden_size"])

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return tokenizer_of(self.folder)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, at most TOKENS."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]

    def features(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The token features of each text, (its tokens, F) float32."""
        import torch

        from cabench.runtime.threads import one_thread

        ids = self.ids(texts)
        order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), i))  # for little padding
        features: list[np.ndarray] = [np.empty(0)] * len(ids)
        with one_thread(), torch.inference_mode():
            model = self.network()
            for start in range(0, len(order), BATCH):
                batch = order[start : start + BATCH]
                longest = len(ids[batch[-1]])
                tokens = torch.zeros(len(batch), longest, dtype=torch.long)  # (B, L)
                mask = torch.zeros(len(batch), longest, dtype=torch.long)  # (B, L)
                for row, i in enumerate(batch):
                    tokens[row, : len(ids[i])] = torch.tensor(ids[i])
                    mask[row, : len(ids[i])] = 1
                output = model(input_ids=tokens, attention_mask=mask)
                hidden = output.last_hidden_state.float()  # (B, L, F)
                for row, i in enumerate(batch):
                    features[i] = hidden[row, : len(ids[i])].numpy().copy()
        return features


@lru_cache(maxsize=4)
def _instance(cls: type[TextEncoder], path: str | None) -> TextEncoder:
    return cls(path)


def encoder(name: str, path: str | None = None) -> TextEncoder:
    """The encoder registered as `name`, with weights from `path`: a folder, or a hub repository."""
    return _instance(TEXT_ENCODERS.get(name), path)


def folder_of(path: str | None, what: str) -> Path:
    """The folder of a model's weights: `path` itself, or the hub repository of that name.

    `what` names the model in errors. DataMissing if there is no such folder or repository.
    """
    if path is None:
        raise DataMissing(f"'{what}': expected `path`: a folder with its weights, or OWNER/NAME")
    if Path(path).is_dir():
        return _checked(Path(path), what)
    if path.count("/") != 1 or path.startswith((".", "~", "/")):
        raise DataMissing(f"'{what}': no such folder: {path}")
    try:
        from huggingface_hub import snapshot_download

        try:
            folder = snapshot_download(path, allow_patterns=list(DOWNLOADS), local_files_only=True)
        except Exception:  # not in the local cache of the hub
            folder = snapshot_download(path, allow_patterns=list(DOWNLOADS))
    except Exception as error:  # of many types, without a network
        raise DataMissing(
            f"'{what}': no such folder or hub repository: {path} ({describe(error)[:200]})"
        ) from None
    return _checked(Path(folder), what)


def _checked(folder: Path, what: str) -> Path:
    for name in ("config.json", WEIGHTS):
        if not (folder / name).is_file():
            raise DataMissing(f"'{what}': no such file: {folder / name}")
    return folder


@lru_cache
def content_hash(folder: Path) -> str:
    """sha256 of config, weights, tokenizer files and CLIP's image preprocessor."""
    names = ["config.json", WEIGHTS, "tokenizer.json", "vocab.json", "merges.txt", "vocab.txt"]
    names += ["preprocessor_config.json"]
    if not (folder / "tokenizer.json").is_file():  # then it says how to read the vocabulary
        names += ["tokenizer_config.json"]
    facts = {name: file_hash(folder / name) for name in names if (folder / name).is_file()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def tokenizer_of(folder: Path) -> Tokenizer:
    """The folder's tokenizer, set to truncate at TOKENS and not to pad."""
    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(path))
        else:  # older repositories have only the vocabulary
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    except ImportError:
        raise DataMissing(
            f"text: the package 'transformers' is not installed; {TextEncoder.extra}"
        ) from None
    except Exception as error:  # of many types, for a corrupted file
        raise DataMissing(f"text: {path} cannot be read ({describe(error)[:200]})") from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS)
    return tokenizer


def quiet(cls: type[Model], folder: Path, **options: Any) -> Model:
    """`cls.from_pretrained(folder)` in float32, frozen, without messages on unused weights."""
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        model = cls.from_pretrained(folder, dtype=torch.float32, **options)
    except Exception as error:  # of many types: weights do not fit the config, a corrupted file
        raise DataMissing(f"text: {folder} cannot be loaded ({describe(error)[:200]})") from None
    return model.eval().requires_grad_(False)


def contract(entry: Any) -> str | None:
    """What is wrong with a registered text encoder, or None."""
    return missing(entry, ("version", "width", "fingerprint", "ids", "features"))


TEXT_ENCODERS.contract = contract
