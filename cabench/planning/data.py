"""Study + scale -> the data that is used: found and checked, or described while it is absent."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cabench import metrics
from cabench.config.schema import DataChoice, Scale
from cabench.config.study import StudyFile, scale_fault
from cabench.data import Dataset, load_dataset, options_model
from cabench.data.dataset import UNSEEN
from cabench.data.texts import distinct_texts
from cabench.errors import CabenchError, DataMissing, listed, unknown
from cabench.metrics.clip import Clip
from cabench.registry import DATASETS, TEXT_ENCODERS, versioned
from cabench.runtime.validation import first_fault, validate
from cabench.text import STREAM, TOKENS, encoder


@dataclass(frozen=True)
class TextRef:
    """Who encodes the stream `text`, and what its features are like."""

    encoder: str
    path: str | None
    version: dict[str, Any]  # and the hash of a plugin
    fingerprint: str | None  # None: the encoder or the data is absent
    width: int
    tokens: int  # to which every text is padded

    @property
    def spec(self) -> dict[str, Any]:
        """What of it decides the numbers, for keys."""
        return {
            "encoder": self.encoder,
            **self.version,
            "fingerprint": self.fingerprint,
            "tokens": self.tokens,
        }


@dataclass(frozen=True)
class DataRef:
    """The data of a study at a scale: what trials need to know of it before they load it."""

    source: str
    options: dict[str, Any]
    fingerprint: str | None  # None: the data is absent
    shape: tuple[int, int, int]
    classes: dict[str, int]  # of the streams the study needs
    names: dict[str, list[str]]  # of the classes; empty while the data is absent
    flip: bool
    missing: str = ""  # why it is absent, and how to get it
    extractors: dict[str, str] = dataclasses.field(default_factory=dict)  # beside the default
    vae: dict[str, Any] | None = None  # of latents: the hash of its weights, scale, shift
    text: TextRef | None = None  # of a study that needs text
    unseen: int = 0  # samples told conditions of the split `unseen`
    clip: dict[str, Any] | None = None  # of metric clip_score: what decides it


def choose_data(file: StudyFile, scale: Scale) -> int:
    """The place, in the scale's list, of the first data source that carries what is needed."""
    needs = set(file.study.needs)
    for i, choice in enumerate(scale.data):
        if needs <= set(choice.streams):
            return i
    offered = listed(f"{c.source}: {listed(c.streams)}" for c in scale.data)
    asked = listed(sorted(needs))
    raise file.fault(("needs",), f"scale '{scale.scale}' has no data with {asked} ({offered})")


def on_data(scale: Scale, place: int) -> Scale:
    """The scale as it is on its data source at `place`: with what that says in its place."""
    choice = scale.data[place]
    changed = {}
    for name in ("training", "sampling", "heldout"):
        told = getattr(choice, name).model_dump(exclude_none=True)
        if told:
            changed[name] = getattr(scale, name).model_copy(update=told)
    if "heldout" in changed and changed["heldout"].bins > changed["heldout"].images:
        text = f"{changed['heldout'].bins} bins need at least as many images"
        raise scale_fault(scale, ("data", place, "heldout"), text)
    if choice.metrics is not None:
        changed["metrics"] = choice.metrics
    if choice.patch is not None:
        changed["backbones"] = {
            name: backbone.model_copy(update={"patch": choice.patch})
            for name, backbone in scale.backbones.items()
        }
    return scale.model_copy(update=changed)


def _key(scale: Scale, place: int, part: str, name: str) -> tuple[Any, ...]:
    """Where a number stands: at the data source, if that says it, else in the scale."""
    here = getattr(getattr(scale.data[place], part), name) is not None
    return ("data", place, part, name) if here else (part, name)


def _find_text(
    choice: DataChoice, where: tuple[Any, ...], scale: Scale, found: Dataset | None
) -> tuple[TextRef, str]:
    """The encoder, and why it is absent ('' when it isn't)."""
    told = choice.text
    if told is None:
        text = f"stream '{STREAM}' needs an encoder: text: {{encoder: NAME}}"
        raise scale_fault(scale, where, f"{text}; known: {listed(TEXT_ENCODERS.names())}")
    if told.encoder not in TEXT_ENCODERS:
        text = unknown("text encoder", told.encoder, TEXT_ENCODERS.names())
        raise scale_fault(scale, (*where, "text", "encoder"), text)
    version = versioned(TEXT_ENCODERS.get(told.encoder))
    absent = TextRef(told.encoder, told.path, version, None, told.width or 0, TOKENS)
    try:
        made = encoder(told.encoder, told.path)
        if found is None:
            return dataclasses.replace(absent, width=told.width or made.width), ""
        ids = made.ids(distinct_texts(found))
        ref = TextRef(
            told.encoder, told.path, version, made.fingerprint, made.width, max(map(len, ids))
        )
    except DataMissing as error:
        if told.width is None:
            raise DataMissing(scale_fault(scale, (*where, "text"), str(error))) from None
        return absent, str(error)
    if told.width not in (None, ref.width):
        text = f"found {told.width}; the features of '{told.encoder}' have {ref.width}"
        raise scale_fault(scale, (*where, "text", "width"), text)
    return ref, ""


def _find_clip(scale: Scale) -> tuple[dict[str, Any] | None, str]:
    """What decides the CLIP score, and why its weights are absent ('' when they aren't)."""
    if scale.clip is None:
        text = "clip_score needs a CLIP: clip: {path: FOLDER or a name on the hub}"
        raise scale_fault(scale, ("metrics",), text)
    try:
        return Clip(scale.clip.path, scale.clip.template).spec, ""
    except DataMissing as error:
        return None, scale_fault(scale, ("clip", "path"), str(error)).args[0]


def _check_source(choice: DataChoice, where: tuple[Any, ...], scale: Scale) -> None:
    if choice.source not in DATASETS:
        text = unknown("data set", choice.source, DATASETS.names())
        raise scale_fault(scale, (*where, "source"), text)
    model = options_model(choice.source)
    try:
        validate(model, choice.options)
    except ValidationError as error:
        inner, text = first_fault(error, model, choice.options)
        raise scale_fault(scale, (*where, "options", *inner), text) from None


def find_data(file: StudyFile, scale: Scale) -> DataRef:
    """Loads the data to know its fingerprint; absent data is described from the scale."""
    place = choose_data(file, scale)
    needs = [name for name in file.study.needs if name != STREAM]
    told = STREAM in file.study.needs
    choice, where = scale.data[place], ("data", place)
    _check_source(choice, where, scale)
    try:
        found = load_dataset(choice.source, **choice.options)
    except DataMissing as error:
        if choice.shape is None or choice.classes is None:
            raise DataMissing(scale_fault(scale, where, str(error))) from None
        absent = [name for name in needs if name not in choice.classes]
        if absent:
            text = f"it says nothing of {listed(absent)}"
            raise scale_fault(scale, (*where, "classes"), text) from None
        classes = {name: choice.classes[name] for name in needs}
        return DataRef(
            choice.source,
            choice.options,
            None,
            choice.shape,
            classes,
            {},
            bool(choice.options.get("flip", False)),
            str(error),
            text=_find_text(choice, where, scale, None)[0] if told else None,
        )
    except CabenchError as error:
        raise scale_fault(scale, where, str(error)) from None
    for name in needs:
        if name not in found.classes:
            text = f"data '{choice.source}' has no stream {name!r}; it has {listed(found.classes)}"
            raise scale_fault(scale, (*where, "streams"), text)
        if len(found.classes[name]) < 2:
            text = f"{name!r} has one class, {listed(found.classes[name])}; a condition needs two"
            raise scale_fault(scale, where, text)
    classes = {name: len(found.classes[name]) for name in needs}
    if told and STREAM not in found.split("report").texts:
        text = f"data '{choice.source}' has no text for the stream '{STREAM}'"
        raise scale_fault(scale, (*where, "streams"), text)
    text, missing = _find_text(choice, where, scale, found) if told else (None, "")
    try:  # making a scorer is cheap, and refuses more samples than there are real images
        chosen = metrics.needing("samples", scale.metrics)
        key = _key(scale, place, "sampling", "n")
        metrics.SampleScorer(found, scale.sampling.n, Path(), metrics=chosen)
        if choice.unseen is not None:
            key = (*where, "unseen")
            metrics.SampleScorer(found, choice.unseen, Path(), metrics=chosen, reference=UNSEEN)
    except CabenchError as error:
        raise scale_fault(scale, key, str(error)) from None
    clip, absent = _find_clip(scale) if "clip_score" in scale.metrics else (None, "")
    try:
        extractors, no_weights = metrics.extractor_fingerprints(scale.metrics), ""
    except DataMissing as error:
        extractors, no_weights = {}, str(scale_fault(scale, ("metrics",), str(error)))
    most = len(found.split("report"))
    if scale.heldout.images > most:
        text = f"found {scale.heldout.images}; the report split of '{choice.source}' has {most}"
        raise scale_fault(scale, _key(scale, place, "heldout", "images"), text)
    return DataRef(
        choice.source,
        choice.options,
        found.fingerprint,
        tuple(found.inputs),
        classes,
        {name: found.classes[name] for name in dict.fromkeys([*needs, "label"])},
        found.flip,
        missing or absent or no_weights,
        extractors=extractors,
        text=text,
        unseen=choice.unseen or 0,
        clip=clip,
        vae=found.vae and {k: v for k, v in found.vae.items() if k != "path"},
    )
