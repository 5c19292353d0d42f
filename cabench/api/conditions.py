"""From what a caller asks for (class names, numbers, maps, texts) to the streams of a condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cabench.errors import CabenchError, listed, near, shown
from cabench.models.streams import Values, take
from cabench.records.spec import TextSpec, TrainSpec
from cabench.runtime.images import to_float
from cabench.text.encoder import encoder
from cabench.text.features import Encoded

LABEL = "label"

Classes = Mapping[str, Sequence[str]]  # stream -> names of its classes
Conditions = Mapping[str, Any]  # stream -> a value or a sequence of them


def used_streams(spec: TrainSpec) -> list[str]:
    """The streams that any method is conditioned on, without the timestep."""
    used = {stream for method in spec.model.methods for stream in method.streams}
    return [stream for stream in spec.model.embedder.streams if stream in used]


def streams_of(
    spec: TrainSpec, classes: Classes, given: Conditions, n: int, text_path: str | None = None
) -> dict[str, Values]:
    """The streams of a condition, n rows for each value: (L * n, ...) for L values.

    A stream with one value has it in all rows. Without any condition, every class of `label` is
    one; for a model that is conditioned on nothing, there is one value. CabenchError names the
    stream that is unknown, lacking or has a wrong value.
    """
    embedder = spec.model.embedder
    for name in given:
        if name not in embedder.streams:
            known = list(embedder.streams)
            text = f"unknown condition {shown(name)}{near(name, known)}; the model has"
            raise CabenchError(f"{text} {listed(known)}")
    used = used_streams(spec)
    if not given and not used:
        return {LABEL: torch.zeros(n, dtype=torch.int64)}  # counts the rows; nothing reads it
    if not given and used == [LABEL]:
        given = {LABEL: range(embedder.classes[LABEL])}
    if lacking := [name for name in used if name not in given]:
        raise CabenchError(
            f"the model is conditioned on {listed(used)}; expected a value of each, "
            f"got none of {listed(lacking)}; give them in Python: "
            "cabench.sample(model, conditions={NAME: VALUE})"
        )
    streams = {
        name: _values(name, value, spec, classes, text_path) for name, value in given.items()
    }
    lengths = {name: _rows(value) for name, value in streams.items()}
    longest = max(lengths.values())
    for name, length in lengths.items():
        if length not in (1, longest):
            raise CabenchError(f"{name}: expected 1 or {longest} values, got {length}")
    index = torch.arange(longest).repeat_interleave(n)
    return {
        name: take({name: value}, index if lengths[name] > 1 else torch.zeros_like(index))[name]
        for name, value in streams.items()
    }


def _rows(value: Values) -> int:
    return len(value[0] if isinstance(value, tuple) else value)


def _values(
    name: str, value: Any, spec: TrainSpec, classes: Classes, text_path: str | None
) -> Values:
    embedder = spec.model.embedder
    if name in embedder.classes:
        return _indices(name, value, embedder.classes[name], classes.get(name, ()))
    if name in (embedder.text or {}):
        assert spec.text is not None  # of a model with a text stream
        return _features(value, spec.text, text_path)
    if name in (embedder.vectors or {}):
        width = (embedder.vectors or {})[name]
        return _array(name, value, (width,), "standardised numbers", torch.float32)
    shape = (embedder.maps or {})[name]
    return to_float(_array(name, value, shape, "maps in 0 to 255", torch.uint8))


def _indices(name: str, value: Any, count: int, names: Sequence[str]) -> Tensor:
    """Class names or numbers as indices (L,) int64."""
    if isinstance(value, Tensor | np.ndarray):
        value = value.tolist()
    values = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    if not values:
        raise CabenchError(f"{name}: expected a class or several, got none")
    return torch.tensor([_index(name, each, count, names) for each in values])


def _index(name: str, value: Any, count: int, names: Sequence[str]) -> int:
    if isinstance(value, str) and value in names:
        return names.index(value)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and 0 <= value < count:
        return int(value)
    known = f"one of {listed(names)}, or a number" if names else "a number"
    hint = near(value, names) if isinstance(value, str) else ""
    raise CabenchError(f"{name}: expected {known} from 0 to {count - 1}, got {shown(value)}{hint}")


def _array(name: str, value: Any, shape: tuple[int, ...], what: str, dtype: torch.dtype) -> Tensor:
    """Numbers or maps as (L, *shape)."""
    try:
        array = torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError):
        raise CabenchError(f"{name}: expected {what} of shape {shape}, got other values") from None
    if array.shape == shape:
        array = array[None]
    if array.shape[1:] != shape or not len(array):
        raise CabenchError(f"{name}: expected {what} (L, *{shape}), got {tuple(array.shape)}")
    if dtype is torch.uint8 and array.dtype is not torch.uint8:
        raise CabenchError(f"{name}: expected {what} as uint8, got {array.dtype}")
    if not torch.isfinite(array.float()).all():
        raise CabenchError(f"{name}: expected finite numbers")
    return array.to(dtype)


def _features(value: Any, spec: TextSpec, path: str | None) -> tuple[Tensor, Tensor]:
    """Texts as token features (L, T, F) and masks (L, T)."""
    single = isinstance(value, str) or not hasattr(value, "__iter__")
    texts = [value] if single else list(value)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise CabenchError("text: expected a text or several, got other values")
    network = encoder(spec.encoder, path)
    if network.fingerprint != spec.fingerprint:
        raise CabenchError(f"the text encoder '{spec.encoder}' changed since the training")
    features = network.features(texts)
    lengths = np.array([len(tokens) for tokens in features], np.int64)
    rows = np.arange(len(texts))
    table = Encoded(
        features=np.concatenate([np.zeros_like(features[0][:1]), *features]),
        begins=1 + np.concatenate([[0], np.cumsum(lengths)[:-1]]),
        lengths=lengths,
        choices=rows[:, None],
        counts=np.ones_like(rows),
        tokens=spec.tokens,
    )
    return table.take(rows)
