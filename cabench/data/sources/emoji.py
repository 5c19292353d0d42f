"""Emoji of three designs at 32x32 RGB on white, with captions (built by scripts/build_emoji.py).

Noto 2.048 (Google, Apache-2.0), Twemoji 16.0.1 (CC BY 4.0) and Fluent 3D (Microsoft, MIT), with
names, tags, groups and subgroups from emojibase 17 (MIT): 5,383 pictures of 1,906 concepts; Fluent
has no country flags, families and couples. Writing has a direction, so mirroring is not allowed.

Three rules of splitting, none of which cuts a cluster of near-copies (variants of gender, hair,
role; pictures nearer than 5 % of the smaller non-white energy at 16x16):
`cluster`: 70 / 15 / 15 % of each group's pictures; what is held out is new in every style, and
large clusters are in generator-train;
`style_combo`: judge-train as above; a concept in report is known to generator-train in its two
other styles, and that concept's near-copies are held out in the same style;
`both`: as `style_combo`, but what `cluster` has in report is in none of the three splits: it is a
fourth, `unseen`, of concepts that generator and judges know in no style.

`text` is a prompt: name, at most TAGS tags that the name doesn't hold, style.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from cabench.data import packed
from cabench.data.dataset import SPLITS, UNSEEN, Dataset, Split
from cabench.errors import CabenchError, near
from cabench.registry import DATASETS

RULES = ("cluster", "style_combo", "both")
TAGS = 5  # of a prompt


@DATASETS.register("emoji")
def emoji(split: str = "cluster", size: Literal[16, 32] = 32) -> Dataset:
    """5,383 emoji at 32x32 or 16x16 RGB in three styles, with captions; inside the package."""
    if split not in RULES:
        raise CabenchError(
            f"emoji: unknown split '{split}'{near(split, RULES)}; known: {', '.join(RULES)}"
        )
    arrays, facts = packed.read("emoji")
    found = packed.verified(assemble(arrays, facts, split), facts["fingerprint"][split])
    return found if size == 32 else halved(found)


def halved(dataset: Dataset) -> Dataset:
    """The pictures at half the size: the mean of each block of four pixels, rounded."""

    def half(split: Split) -> Split:
        n, c, h, w = split.images.shape
        means = split.images.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))
        return replace(split, images=np.rint(means).astype(np.uint8))

    splits = {name: half(split) for name, split in dataset.splits.items()}
    return replace(dataset, splits=splits, fingerprint="")


def assemble(arrays: dict[str, np.ndarray], facts: dict[str, Any], rule: str) -> Dataset:
    """The data set from its packed parts, each split in a fixed random order."""
    concepts = facts["concepts"]
    concept = arrays["concept"].astype(np.int64)  # (N,) number in `concepts`
    classes, streams = {"style": facts["styles"]}, {"style": arrays["style"]}
    for level in ("group", "subgroup"):
        names = [c[level] for c in concepts]
        classes[level] = list(dict.fromkeys(names))
        streams[level] = np.array([classes[level].index(name) for name in names])[concept]
    classes["label"], streams["label"] = classes["group"], streams["group"]
    texts = {name: [concepts[i][name] for i in concept] for name in ("caption", "tags", "hexcode")}
    pairs = zip(concept, arrays["style"], strict=True)
    texts["text"] = [prompt(concepts[i], facts["styles"][style]) for i, style in pairs]
    whole = Split(arrays["images"], streams, texts)
    order = np.random.RandomState(0).permutation(len(concept))
    part, names = split_of(arrays, rule)[order], SPLITS + (UNSEEN,) * (rule == "both")
    return Dataset(
        name="emoji",
        licence="Noto Apache-2.0 (Google); Twemoji CC BY 4.0; Fluent MIT (Microsoft): see NOTICE",
        classes=classes,
        flip=False,
        splits={name: whole.take(order[part == k]) for k, name in enumerate(names)},
    )


def split_of(arrays: dict[str, np.ndarray], rule: str) -> np.ndarray:
    """The number of each picture's split, (N,): of SPLITS, then UNSEEN."""
    if rule != "both":
        return arrays[f"split_{rule}"]
    unseen = arrays["split_cluster"] == SPLITS.index("report")
    return np.where(unseen, len(SPLITS), arrays["split_style_combo"])


def prompt(concept: dict[str, Any], style: str) -> str:
    """'grinning face: cheerful, cheery, grin, happy, laugh; noto style'."""
    said = set(re.findall(r"\w+", concept["caption"].lower()))
    tags = [tag for tag in concept["tags"] if tag.lower() not in said][:TAGS]
    name = concept["caption"] + (": " if tags else "") + ", ".join(tags)
    return f"{name}; {style} style"
