"""Study + scale -> the data that is used: loaded and checked, or described while it is absent."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cabench import metrics
from cabench.config.scale import DataChoice, Scale, TextChoice
from cabench.data import Dataset, load_dataset, options_model
from cabench.data.class_sizes import absent_classes
from cabench.data.dataset import SPLITS, UNSEEN
from cabench.data.resampling import resampled
from cabench.data.texts import distinct_texts
from cabench.errors import CabenchError, ConfigError, DataMissing, Where, listed, unknown
from cabench.metrics.capacity import capacity
from cabench.metrics.clip import Clip
from cabench.records.spec import ClipSpec, TextSpec, VaeSpec
from cabench.registry import DATASETS, TEXT_ENCODERS, versioned
from cabench.runtime.files import LOG
from cabench.runtime.validation import first_fault, validate
from cabench.text import STREAM, TOKENS, encoder


@dataclass(frozen=True)
class TextRef:
    """The encoder of the stream `text`, and the shape of its features."""

    # fmt: off
    encoder: str
    path: str | None
    version: dict[str, Any]     # and the hash of a plugin
    fingerprint: str | None     # None: the encoder or the data is absent
    width: int
    tokens: int                 # that every text is padded to
    # fmt: on

    @property
    def spec(self) -> TextSpec:
        """The part that decides numbers, for keys."""
        return TextSpec(
            encoder=self.encoder,
            **self.version,
            fingerprint=self.fingerprint,
            tokens=self.tokens,
        )


@dataclass(frozen=True)
class DataRef:
    """The data of a study at a scale: what planning knows of it without holding its images."""

    # fmt: off
    source: str
    options: dict[str, Any]
    fingerprint: str | None                     # None: the data is absent
    shape: tuple[int, int, int]                 # C, H, W
    classes: dict[str, int]                     # stream the study needs -> number of classes
    names: dict[str, list[str]]                 # stream -> class names; empty while data is absent
    flip: bool                                  # random horizontal flips
    missing: CabenchError | None = None         # what is absent, and how to get it
    extractors: dict[str, str] = field(default_factory=dict)  # fingerprints, without the default
    vae: VaeSpec | None = None                  # of latents
    text: TextRef | None = None                 # of a study that needs text
    vectors: dict[str, int] = field(default_factory=dict)  # stream -> how many numbers it has
    maps: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # stream -> C, H, W
    unseen: int = 0                             # samples conditioned on the split `unseen`
    resample: bool = False                      # each seed draws half of the images
    clip: ClipSpec | None = None                # of metric clip_score
    # fmt: on


def choose_data(needs: Sequence[str], scale: Scale) -> int:
    """Index of the scale's first data source that has the streams a study needs."""
    for i, choice in enumerate(scale.data):
        if set(needs) <= set(choice.streams):
            return i
    offered = listed(f"{c.source}: {listed(c.streams)}" for c in scale.data)
    text = f"scale '{scale.scale}' has no data with {listed(sorted(needs))} ({offered})"
    raise ConfigError("study", ("needs",), text)


def on_data(scale: Scale, place: int) -> Scale:
    """The scale with the values that its data source at index `place` replaces."""
    choice = scale.data[place]
    changed: dict[str, Any] = {}
    for name in ("training", "sampling", "heldout"):
        values = getattr(choice, name).model_dump(exclude_none=True)
        if values:
            changed[name] = getattr(scale, name).model_copy(update=values)
    if "heldout" in changed and changed["heldout"].bins > changed["heldout"].images:
        heldout = changed["heldout"]
        text = f"expected at most {heldout.images} bins (images), got {heldout.bins}"
        raise ConfigError("scale", ("data", place, "heldout"), text)
    if choice.metrics is not None:
        changed["metrics"] = choice.metrics
    if choice.patch is not None:
        changed["backbones"] = {
            name: backbone.model_copy(update={"patch": choice.patch})
            for name, backbone in scale.backbones.items()
        }
    return scale.model_copy(update=changed)


def find_data(needs: Sequence[str], scale: Scale, place: int, resample: bool = False) -> DataRef:
    """Loads and checks the data source at index `place`; the scale describes it where it is absent.

    `scale` is the scale on this source (`on_data`). `resample`: each seed draws half of the images.
    """
    choice = scale.data[place]
    where: Where = ("data", place)
    _check_source(choice, where)
    try:
        dataset = load_dataset(choice.source, **choice.options)
    except DataMissing as error:
        return _described(needs, choice, where, error, resample)
    except CabenchError as error:
        raise ConfigError("scale", where, str(error)) from None
    _check_streams(needs, choice, where, dataset)
    vectors = {name: n for name, n in dataset.vectors.items() if name in needs}
    maps = {name: shape for name, shape in dataset.maps.items() if name in needs}
    text, no_text = _find_text(choice, where, dataset) if STREAM in needs else (None, None)
    used = _resampled(dataset) if resample else dataset
    streams = [name for name in needs if name not in (STREAM, *vectors, *maps)]
    scored = [name for name in dataset.classes if name in (*streams, "label")]
    for line in absent_classes(used, scored):
        LOG.warning("%s: %s", choice.source, line)
    _check_samples(scale, place, used)
    clip, no_clip = _find_clip(scale) if "clip_score" in scale.metrics else (None, None)
    extractors, no_weights = _find_extractors(scale)
    _check_heldout(scale, place, used)
    channels, height, width = dataset.inputs
    return DataRef(
        source=choice.source,
        options=choice.options,
        fingerprint=dataset.fingerprint,
        shape=(channels, height, width),
        classes={name: len(dataset.classes[name]) for name in streams},
        names={name: dataset.classes[name] for name in dict.fromkeys([*streams, "label"])},
        flip=dataset.flip,
        missing=no_text or no_clip or no_weights,
        extractors=extractors,
        vae=_vae(dataset),
        text=text,
        vectors=vectors,
        maps=maps,
        unseen=choice.unseen or 0,
        clip=clip,
        resample=resample,
    )


def _resampled(dataset: Dataset) -> Dataset:
    """The data as a seed draws it; every seed has the same numbers of images."""
    try:
        return resampled(dataset, seed=0)
    except CabenchError as error:
        raise ConfigError("study", ("resample",), str(error)) from None


def _described(
    needs: Sequence[str], choice: DataChoice, where: Where, error: DataMissing, resample: bool
) -> DataRef:
    """Absent data as the scale describes it; raises where the scale does not."""
    if choice.shape is None or choice.classes is None:
        raise ConfigError("scale", where, str(error)) from None
    streams = [name for name in needs if name != STREAM]
    if absent := [name for name in streams if name not in choice.classes]:
        text = f"expected a number of classes for {listed(absent)}, got {listed(choice.classes)}"
        raise ConfigError("scale", (*where, "classes"), text) from None
    return DataRef(
        source=choice.source,
        options=choice.options,
        fingerprint=None,
        shape=choice.shape,
        classes={name: choice.classes[name] for name in streams},
        names={},
        flip=bool(choice.options.get("flip", False)),
        missing=error,
        text=_find_text(choice, where, None)[0] if STREAM in needs else None,
        resample=resample,
    )


# ---- checks -------------------------------------------------------------------------------------


def _check_source(choice: DataChoice, where: Where) -> None:
    if choice.source not in DATASETS:
        text = unknown("data set", choice.source, DATASETS.names())
        raise ConfigError("scale", (*where, "source"), text)
    model = options_model(choice.source)
    try:
        validate(model, choice.options)
    except ValidationError as error:
        inner, text = first_fault(error, model, choice.options)
        raise ConfigError("scale", (*where, "options", *inner), text) from None


def _check_streams(
    needs: Sequence[str], choice: DataChoice, where: Where, dataset: Dataset
) -> None:
    for name in needs:
        if name == STREAM or name in dataset.vectors or name in dataset.maps:
            continue
        if name not in dataset.classes:
            streams = listed([*dataset.classes, *dataset.vectors, *dataset.maps])
            text = f"data '{choice.source}' has no stream '{name}'; it has {streams}"
            raise ConfigError("scale", (*where, "streams"), text)
        if len(dataset.classes[name]) < 2:
            classes = listed(dataset.classes[name])
            text = f"'{name}' has one class, {classes}; a condition needs two"
            raise ConfigError("scale", where, text)
    if STREAM in needs and STREAM not in dataset.split("report").texts:
        text = f"data '{choice.source}' has no text for the stream '{STREAM}'"
        raise ConfigError("scale", (*where, "streams"), text)


def _check_samples(scale: Scale, place: int, dataset: Dataset) -> None:
    """Refuses numbers of samples for which there are too few real images."""
    chosen = metrics.needing("samples", scale.metrics)
    unseen = scale.data[place].unseen
    key = _source_of(scale, place, "sampling", "n")
    try:  # creating a scorer is cheap and checks the numbers
        metrics.SampleScorer(dataset, scale.sampling.n, Path(), metrics=chosen)
        if unseen is not None:
            key = ("data", place, "unseen")
            metrics.SampleScorer(dataset, unseen, Path(), metrics=chosen, reference=UNSEEN)
    except CabenchError as error:
        most = capacity(dataset, splits=(SPLITS[1], SPLITS[2]))
        text = str(error)
        if "n" in key and scale.sampling.n > most.n:
            text = f"expected at most {most.n:,} ({most.limit}), got {scale.sampling.n:,}"
        raise ConfigError("scale", key, text) from None


def _check_heldout(scale: Scale, place: int, dataset: Dataset) -> None:
    most = len(dataset.split("report"))
    if scale.heldout.images > most:
        text = f"expected at most {most} (real images to compare with), got {scale.heldout.images}"
        raise ConfigError("scale", _source_of(scale, place, "heldout", "images"), text)


def _source_of(scale: Scale, place: int, part: str, name: str) -> Where:
    """Where a value is written: at the data source, or in the scale."""
    here = getattr(getattr(scale.data[place], part), name) is not None
    return ("data", place, part, name) if here else (part, name)


# ---- encoders and extractors --------------------------------------------------------------------


def _find_text(
    choice: DataChoice, where: Where, dataset: Dataset | None
) -> tuple[TextRef, DataMissing | None]:
    """The text encoder, and the error if it is absent. `dataset` is None while data is absent."""
    if choice.text is None:
        known = listed(TEXT_ENCODERS.names())
        text = f"stream '{STREAM}' needs an encoder: text: {{encoder: NAME}}; known: {known}"
        raise ConfigError("scale", where, text)
    if choice.text.encoder not in TEXT_ENCODERS:
        text = unknown("text encoder", choice.text.encoder, TEXT_ENCODERS.names())
        raise ConfigError("scale", (*where, "text", "encoder"), text)
    try:
        ref = _text_ref(choice.text, dataset)
    except DataMissing as error:
        if choice.text.width is None:
            raise ConfigError("scale", (*where, "text"), str(error)) from None
        return _absent_text(choice.text, choice.text.width), error
    if dataset is not None and choice.text.width not in (None, ref.width):
        text = f"expected {ref.width}, the width of '{ref.encoder}', got {choice.text.width}"
        raise ConfigError("scale", (*where, "text", "width"), text)
    return ref, None


def _text_ref(text: TextChoice, dataset: Dataset | None) -> TextRef:
    network = encoder(text.encoder, text.path)
    if dataset is None:
        return _absent_text(text, text.width or network.width)
    tokens = max(map(len, network.ids(distinct_texts(dataset))))
    return dataclasses.replace(
        _absent_text(text, network.width), fingerprint=network.fingerprint, tokens=tokens
    )


def _absent_text(text: TextChoice, width: int) -> TextRef:
    version = versioned(TEXT_ENCODERS.get(text.encoder))
    return TextRef(text.encoder, text.path, version, None, width, TOKENS)


def _find_clip(scale: Scale) -> tuple[ClipSpec | None, ConfigError | None]:
    """What decides the CLIP score, and the error if its weights are absent."""
    if scale.clip is None:
        text = "clip_score needs a CLIP: clip: {path: DIRECTORY or a name on the hub}"
        raise ConfigError("scale", ("metrics",), text)
    try:
        return ClipSpec(**Clip(scale.clip.path, scale.clip.template).spec), None
    except DataMissing as error:
        return None, ConfigError("scale", ("clip", "path"), str(error))


def _find_extractors(scale: Scale) -> tuple[dict[str, str], ConfigError | None]:
    """Fingerprints of the metrics' feature extractors, and the error if weights are absent."""
    try:
        return metrics.extractor_fingerprints(scale.metrics), None
    except DataMissing as error:
        return {}, ConfigError("scale", ("metrics",), str(error))


def _vae(dataset: Dataset) -> VaeSpec | None:
    if dataset.vae is None:
        return None
    vae = dataset.vae
    return VaeSpec(sha256=vae.sha256, scale=vae.scale, shift=vae.shift)
