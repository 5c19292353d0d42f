"""Emoji in three styles, 32x32 RGB on white, with captions (built by scripts/build_emoji.py).

Noto 2.048 (Google, Apache-2.0), Twemoji 16.0.1 (CC BY 4.0) and Fluent 3D (Microsoft, MIT), with
names, tags, groups and subgroups from emojibase 17 (MIT): 5,383 images of 1,906 concepts. Fluent
lacks country flags, families and couples. Letters must not be mirrored, so `flip` is false.

`split` is one of three rules. None of them cuts a cluster of near-duplicates: variants of gender,
hair or role, and images whose squared distance at 16x16 is below 5 % of the smaller non-white
energy.
`cluster`      70 / 15 / 15 % of each group's images; held-out concepts are new in every style, and
               large clusters go to generator-train.
`style_combo`  judge-train as above; generator-train has each concept of report in its two other
               styles, and that concept's near-duplicates are held out in the same style.
`both`         as `style_combo`, but the images that `cluster` has in report form a fourth split,
               `unseen`, of concepts that are in no other split.

`text` is a prompt: the name, up to TAGS tags whose words are not in the name, and the style.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from cabench.data import packed
from cabench.data.dataset import SPLITS, UNSEEN, Dataset, Split, Texts
from cabench.errors import CabenchError, near
from cabench.registry import DATASETS

RULES = ("cluster", "style_combo", "both")
TAGS = 5  # per prompt


@DATASETS.register("emoji")
def emoji(split: str = "cluster", size: Literal[16, 32] = 32) -> Dataset:
    """5,383 emoji at 32x32 or 16x16 RGB in three styles, with captions; inside the package."""
    if split not in RULES:
        raise CabenchError(
            f"emoji: unknown split '{split}'{near(split, RULES)}; known: {', '.join(RULES)}"
        )
    arrays, facts = packed.read("emoji")
    dataset = packed.verified(assemble(arrays, facts, split), facts["fingerprint"][split])
    return dataset if size == 32 else halved(dataset)


def halved(dataset: Dataset) -> Dataset:
    """The data set at half the resolution: the mean of each 2x2 block, rounded."""

    def half(split: Split) -> Split:
        n, c, h, w = split.images.shape
        means = split.images.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))
        return replace(split, images=np.rint(means).astype(np.uint8))

    splits = {name: half(split) for name, split in dataset.splits.items()}
    return replace(dataset, splits=splits, fingerprint="")


def assemble(arrays: dict[str, np.ndarray], facts: dict[str, Any], rule: str) -> Dataset:
    """The data set from its packed parts; each split is shuffled with a fixed seed."""
    concepts = facts["concepts"]
    concept = arrays["concept"].astype(np.int64)  # (N,) index into `concepts`
    classes, streams = {"style": facts["styles"]}, {"style": arrays["style"]}
    for level in ("group", "subgroup"):
        names = [c[level] for c in concepts]
        classes[level] = list(dict.fromkeys(names))
        streams[level] = np.array([classes[level].index(name) for name in names])[concept]
    classes["label"], streams["label"] = classes["group"], streams["group"]
    texts: Texts = {
        name: [concepts[i][name] for i in concept] for name in ("caption", "tags", "hexcode")
    }
    pairs = zip(concept, arrays["style"], strict=True)
    texts["text"] = [prompt(concepts[i], facts["styles"][style]) for i, style in pairs]
    all_images = Split(arrays["images"], streams, texts)
    order = np.random.RandomState(0).permutation(len(concept))
    part, names = split_of(arrays, rule)[order], SPLITS + (UNSEEN,) * (rule == "both")
    return Dataset(
        name="emoji",
        licence="Noto Apache-2.0 (Google); Twemoji CC BY 4.0; Fluent MIT (Microsoft): see NOTICE",
        classes=classes,
        flip=False,
        splits={name: all_images.take(order[part == k]) for k, name in enumerate(names)},
    )


def split_of(arrays: dict[str, np.ndarray], rule: str) -> np.ndarray:
    """The split of each image, (N,): an index into SPLITS, then UNSEEN."""
    if rule != "both":
        return arrays[f"split_{rule}"]
    unseen = arrays["split_cluster"] == SPLITS.index("report")
    return np.where(unseen, len(SPLITS), arrays["split_style_combo"])


def prompt(concept: dict[str, Any], style: str) -> str:
    """'grinning face: cheerful, cheery, grin, happy, laugh; noto style'."""
    words = set(re.findall(r"\w+", concept["caption"].lower()))
    tags = [tag for tag in concept["tags"] if tag.lower() not in words][:TAGS]
    name = concept["caption"] + (": " if tags else "") + ", ".join(tags)
    return f"{name}; {style} style"
