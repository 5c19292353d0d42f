"""A scale on another data source: what the data does not allow is lowered, and said."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cabench.config.scale import DataChoice, Heldout, Scale, TextChoice
from cabench.config.schema import Study
from cabench.config.study import ScaleFile, scale_names
from cabench.config.yaml import dump
from cabench.data import Dataset, open_catalogue
from cabench.data.catalogue import require_valid, without_pixels
from cabench.errors import CabenchError, ConfigError, listed, one_line
from cabench.metrics.capacity import HELD_OUT, Capacity, capacity, roomier, shortfall
from cabench.models import model as _model  # noqa: F401  (registers backbones)
from cabench.planning.data import choose_data, on_data
from cabench.registry import BACKBONES, METRICS
from cabench.runtime.files import content_key
from cabench.runtime.validation import NO_DOT, valid_name
from cabench.text import STREAM

PRIMARY = Study.model_fields["primary"].default  # the metric that a scale without a study needs
ENCODER = "minilm"  # of texts, where the scale names none
OPTION = "--data"


@dataclass(frozen=True)
class Adapted:
    """A scale on another data source."""

    # fmt: off
    scale: Scale
    lines: tuple[str, ...]      # what differs from the scale, beside the data
    # fmt: on


@dataclass(frozen=True)
class Source:
    """A data source with its options, and what it allows."""

    # fmt: off
    name: str
    options: dict[str, Any]
    data: Dataset               # without pixels
    capacity: Capacity
    # fmt: on


def for_study(
    study: Study, file: ScaleFile, source: str, options: dict[str, Any]
) -> tuple[ScaleFile, tuple[str, ...]]:
    """The scale on a source that the command line names, and what was lowered for its data.

    The scale's name gets a suffix that identifies source and options, so the run has a manifest of
    its own.
    """
    claims = [claim for claim in study.claims if claim.test != "by_construction"]
    names = [[c.metric] if isinstance(c.metric, str) else c.metric for c in claims]
    needed = dict.fromkeys([study.primary, *(name for each in names for name in each)])
    known = [name for name in needed if name in METRICS]  # others are refused when it is planned
    adapted = adapt(file.scale, source, options, study.needs, known, study.resample)
    name = valid_name(f"{file.scale.scale}-{source}-{content_key(source, options)[:6]}")
    scale = adapted.scale.model_copy(update={"scale": name})
    document = dataclasses.replace(file.document, added={("data",): OPTION})
    return ScaleFile(scale, document), adapted.lines


def scale_text(scale: Scale, source: str, options: dict[str, Any], name: str) -> str:
    """YAML of a scale that works for the data of a source; `name` is the scale's, if it may be."""
    adapted = adapt(scale, source, options)
    fitted, lines = _fit_patches(adapted.scale, open_catalogue(source, **options).shape)
    if not re.fullmatch(NO_DOT, name) or name in scale_names():
        name = f"{scale.scale}-own"
    fitted = fitted.model_copy(update={"scale": name})
    changes = [f"# {line}\n" for line in (*adapted.lines, *lines)]
    return "".join(changes) + as_yaml(fitted)


def as_yaml(scale: Scale) -> str:
    """A scale as a file that `read_scale` reads; values at their default are left out."""
    return dump(scale.model_dump(mode="json", exclude_defaults=True))


def adapt(
    scale: Scale,
    source: str,
    options: dict[str, Any],
    needs: Sequence[str] = ("label",),
    needed: Sequence[str] = (PRIMARY,),
    halved: bool = False,
) -> Adapted:
    """The scale on another data source, for a study that needs these streams and metrics.

    Training, backbones and sampling stay as the scale has them for the study. Numbers of images
    are lowered to what the data allows, metrics that cannot be measured are left out. CabenchError
    if a needed one is among them.
    """
    place = _place(needs, scale)
    base = on_data(scale, place)
    opened, lines = _roomy_enough(_opened(source, options, halved), needed, halved)
    n = min(base.sampling.n, opened.capacity.n)
    reasons = {name: shortfall(name, opened.data, n) for name in dict.fromkeys([*base.metrics])}
    for name in needed:
        if reason := shortfall(name, opened.data, n):
            raise CabenchError(
                f"data set '{source}': {name} {reason}, got at most {n:,} "
                f"({opened.capacity.limit}); add images"
            )
    heldout, changed = _heldout(base.heldout, _report_images(opened.data, halved))
    left_out = [f"{name} ({reason})" for name, reason in reasons.items() if reason]
    if n < base.sampling.n:
        lines.append(f"sampling.n: {base.sampling.n:,} -> {n:,}: {opened.capacity.limit}")
    lines += changed
    if left_out:
        lines.append(f"metrics: without {listed(left_out)}")
    texts = opened.data.split("report").texts
    choice = DataChoice(
        streams=[
            *opened.data.classes,
            *opened.data.vectors,
            *opened.data.maps,
            *([STREAM] if STREAM in texts else []),
        ],
        source=source,
        options=opened.options,
        text=_text(scale, place) if STREAM in texts else None,
    )
    update = {
        "about": f"scale {scale.scale} on data set '{source}'",
        "data": [choice],
        "sampling": base.sampling.model_copy(update={"n": n}),
        "heldout": heldout,
        "metrics": [name for name in base.metrics if not reasons[name]],
    }
    return Adapted(base.model_copy(update=update), tuple(map(one_line, lines)))


def _place(needs: Sequence[str], scale: Scale) -> int:
    """The data source that the study would use, or the first one."""
    try:
        return choose_data(needs, scale)
    except ConfigError:
        return 0


def _opened(source: str, options: dict[str, Any], halved: bool) -> Source:
    catalogue = open_catalogue(source, **options)
    require_valid(catalogue)
    data = without_pixels(catalogue)
    return Source(source, options, data, capacity(data, halved=halved))


def _roomy_enough(source: Source, needed: Sequence[str], halved: bool) -> tuple[Source, list[str]]:
    """The source, with more images held out if the needed metrics need them."""
    least = max((getattr(METRICS.get(name), "min_samples", 0) for name in needed), default=0)
    options = roomier(source.name, source.options)
    if source.capacity.n >= least or options is None:
        return source, []
    other = _opened(source.name, options, halved)
    if other.capacity.n <= source.capacity.n:
        return source, []
    line = (
        f"-o {HELD_OUT}={options[HELD_OUT]}, that share of every class in judge-train and report: "
        f"else {source.capacity.n:,} samples could be scored, and {listed(needed)} need {least:,}"
    )
    return other, [line]


def _report_images(data: Dataset, halved: bool) -> int:
    labels = data.split("report").streams.get("label")
    if not halved or labels is None:
        return len(data.split("report"))
    return capacity(data, splits=("report",), halved=True).n


def _heldout(heldout: Heldout, most: int) -> tuple[Heldout, list[str]]:
    """The held-out loss on at most `most` images, and what changed."""
    images = min(heldout.images, most)
    changed = heldout.model_copy(update={"images": images, "bins": min(heldout.bins, images)})
    values = {name: (getattr(heldout, name), getattr(changed, name)) for name in ("images", "bins")}
    lines = [f"heldout.{k}: {a:,} -> {b:,}" for k, (a, b) in values.items() if a != b]
    return changed, lines


def _text(scale: Scale, place: int) -> TextChoice:
    """The text encoder of the data source at `place`, else of any other."""
    choices = [scale.data[place], *scale.data]
    return next((c.text for c in choices if c.text is not None), TextChoice(encoder=ENCODER))


def _fit_patches(scale: Scale, shape: tuple[int, int, int]) -> tuple[Scale, list[str]]:
    """The scale with patches that fit images of a shape, without backbones that cannot."""
    backbones, lines = {}, []
    for name, choice in scale.backbones.items():
        sizes = range(choice.patch, 0, -1)
        problem = BACKBONES.get(name).problem
        patch = next((size for size in sizes if not problem(shape, size)), None)
        if patch is None:
            lines.append(f"backbones: without {name}: {problem(shape, choice.patch)}")
            continue
        if patch != choice.patch:
            lines.append(f"backbones.{name}.patch: {choice.patch} -> {patch}")
        backbones[name] = choice.model_copy(update={"patch": patch})
    return scale.model_copy(update={"backbones": backbones}), lines
