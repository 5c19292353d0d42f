import re

import numpy as np
import pytest

from cabench.data import SPLITS, load_dataset
from cabench.data.dataset import fingerprint
from cabench.errors import CabenchError

NEAR = 0.05
STYLES = ["noto", "twemoji", "fluent"]


@pytest.fixture(scope="module", params=["cluster", "style_combo", "both"])
def emoji(request):
    return load_dataset("emoji", split=request.param)


@pytest.fixture(scope="module")
def cluster_split():
    return load_dataset("emoji")


def concatenated(dataset):
    """Images, split number, style and hexcode of each image, over all splits."""
    parts = [dataset.split(name) for name in SPLITS]
    images = np.concatenate([part.images for part in parts])
    number = np.repeat(np.arange(3), [len(part) for part in parts])
    style = np.concatenate([part.streams["style"] for part in parts])
    return images, number, style, np.array([h for part in parts for h in part.texts["hexcode"]])


def relative_distance(a, b):
    """(len(a), len(b)): squared distance at 16x16 over the smaller non-white energy."""
    a, b = (
        1
        - x.reshape(len(x), 3, 16, 2, 16, 2).mean((3, 5), dtype=np.float32).reshape(len(x), -1)
        / 255
        for x in (a, b)
    )
    ea, eb = (a * a).sum(1), (b * b).sum(1)
    return (ea[:, None] + eb[None] - 2 * a @ b.T) / np.minimum(ea[:, None], eb[None])


def test_counts(cluster_split):
    images, _, style, hexcode = concatenated(cluster_split)
    assert cluster_split.classes["style"] == STYLES
    assert np.bincount(style).tolist() == [1906, 1906, 1571]
    assert images.shape == (5383, 3, 32, 32)
    assert len(set(zip(style, hexcode, strict=True))) == 5383
    assert len(cluster_split.classes["group"]) == 9
    assert "component" not in cluster_split.classes["group"]
    assert len(cluster_split.classes["subgroup"]) == 98


def test_streams_and_texts(emoji):
    assert emoji.shape == (3, 32, 32) and not emoji.flip
    assert set(emoji.classes) == {"label", "group", "subgroup", "style"}
    for name in SPLITS:
        part = emoji.split(name)
        for stream, values in part.streams.items():
            assert values.dtype == np.int64 and values.shape == (len(part),)
            assert values.min() >= 0 and values.max() < len(emoji.classes[stream])
        assert np.array_equal(part.streams["label"], part.streams["group"])
        assert len(part.texts["caption"]) == len(part.texts["tags"]) == len(part)


def test_known_images(cluster_split):
    """A heart or tomato has its colour in every style; the background is white."""
    images, _, _, hexcode = concatenated(cluster_split)
    for code, channel in (("2764", 0), ("1f345", 0), ("1f499", 2), ("1f49a", 1)):
        hearts = images[hexcode == code].astype(int)
        assert len(hearts) == 3
        ink = hearts.transpose(0, 2, 3, 1)[hearts.min(1) < 128]
        others = [c for c in range(3) if c != channel]
        assert ink[:, channel].mean() > ink[:, others].max(1).mean()
    corners = images[:, :, [0, 0, 31, 31], [0, 31, 0, 31]]
    assert np.mean(corners == 255) > 0.8


def test_captions_belong_to_images(cluster_split):
    where = {c: i for i, c in enumerate(cluster_split.split("report").texts["hexcode"])}
    part = cluster_split.split("report")
    group = cluster_split.classes["group"]
    for code, i in where.items():
        text = part.texts["caption"][i]
        if text.startswith("flag: ") and "-" in code:
            assert group[part.streams["group"][i]] == "flags"
            letters = [int(c, 16) - 0x1F1E6 + ord("A") for c in code.split("-")]
            if len(letters) == 2:
                assert "".join(map(chr, letters)) in part.texts["tags"][i]


def test_shares(cluster_split):
    """About 70 / 15 / 15 %, in every group too."""
    counts = np.stack(
        [np.bincount(cluster_split.split(n).streams["group"], minlength=9) for n in SPLITS]
    )
    assert np.allclose(counts.sum(1) / counts.sum(), [0.7, 0.15, 0.15], atol=0.01)
    assert np.allclose(counts / counts.sum(0), [[0.7], [0.15], [0.15]], atol=0.03)


def test_no_near_duplicates_across_splits(cluster_split):
    images, number, _, _ = concatenated(cluster_split)
    generator, judge, report = (images[number == k] for k in range(3))
    for a, b in ((generator, judge), (generator, report), (judge, report)):
        assert relative_distance(a, b).min() >= NEAR * (1 - 1e-3)  # rounding in float32


def test_no_variants_across_splits(cluster_split):
    """Concepts that differ only by one of these words, or by style, share a split."""
    splits: dict[str, set[str]] = {}
    people = cluster_split.classes["group"].index("people-body")
    for name in SPLITS:
        part = cluster_split.split(name)
        for i, caption in enumerate(part.texts["caption"]):
            if part.streams["group"][i] == people:
                caption = re.sub(r"^(man|woman|person) |^(men|women|people) ", "", caption)
                caption = re.sub(r": (facing right|bald|beard|\w+ hair)$", "", caption)
            splits.setdefault(f"{part.streams['group'][i]} {caption}", set()).add(name)
    assert len(splits) < 1750 and all(len(names) == 1 for names in splits.values())


def test_style_combo(cluster_split):
    """Held-out concepts are trained on in their other two styles, without near-duplicates."""
    combo = load_dataset("emoji", split="style_combo")
    images, number, style, hexcode = concatenated(combo)
    seen = {(h, s) for h, s, k in zip(hexcode, style, number, strict=True) if k == 0}
    heldout = [(h, s) for h, s, k in zip(hexcode, style, number, strict=True) if k == 2]
    assert len(heldout) > 0.13 * len(images)
    assert np.bincount([s for _, s in heldout]).min() > 0.25 * len(heldout)
    for code, s in heldout:
        assert (code, s) not in seen
        assert all((code, other) in seen for other in range(3) if other != s)
    assert set(hexcode[number == 1]).isdisjoint(
        hexcode[number != 1]
    )  # judge-train shares no concept
    assert set(hexcode[number == 1]) == set(cluster_split.split("judge-train").texts["hexcode"])
    generator, judge, report = (images[number == k] for k in range(3))
    for a, b in ((generator, report), (judge, report), (generator, judge)):
        assert relative_distance(a, b).min() >= NEAR * (1 - 1e-3)


def test_both_holds_out_styles_of_known_concepts_and_whole_concepts(cluster_split):
    both, combo = (load_dataset("emoji", split=rule) for rule in ("both", "style_combo"))
    assert list(both.splits) == [*SPLITS, "unseen"]
    unseen = both.split("unseen")
    assert np.array_equal(unseen.images, cluster_split.split("report").images)
    parts = {name: both.split(name) for name in both.splits}
    assert sum(map(len, parts.values())) == 5383
    codes = {name: set(part.texts["hexcode"]) for name, part in parts.items()}
    assert codes["report"] < codes["generator-train"]
    for name in ("generator-train", "judge-train", "report"):
        assert codes["unseen"].isdisjoint(codes[name])
        nearest = relative_distance(parts[name].images, unseen.images).min()
        assert nearest >= NEAR * (1 - 1e-3)
    pairs = {
        n: {*zip(p.texts["hexcode"], p.streams["style"].tolist(), strict=True)}
        for n, p in parts.items()
    }
    assert pairs["report"].isdisjoint(pairs["generator-train"])
    heldout = combo.split("report").texts["hexcode"]
    assert codes["report"] == set(heldout) - codes["unseen"]


def test_half_the_size_is_the_mean_of_four_pixels(cluster_split):
    small = load_dataset("emoji", size=16)
    assert small.shape == (3, 16, 16) and small.fingerprint != cluster_split.fingerprint
    for name in SPLITS:
        half, full = small.split(name).images, cluster_split.split(name).images.astype(float)
        mean = (
            full[:, :, ::2, ::2]
            + full[:, :, 1::2, ::2]
            + full[:, :, ::2, 1::2]
            + full[:, :, 1::2, 1::2]
        ) / 4
        assert half.dtype == np.uint8 and np.abs(half - mean).max() <= 0.5
    with pytest.raises(CabenchError, match="16 or 32"):
        load_dataset("emoji", size=8)


def test_a_prompt_is_name_tags_and_style(cluster_split):
    part = cluster_split.split("report")
    for i, text in enumerate(part.texts["text"]):
        name, style = part.texts["caption"][i], STYLES[part.streams["style"][i]]
        assert text.startswith(name) and text.endswith(f"; {style} style")
        listed = text.removeprefix(name).removesuffix(f"; {style} style").removeprefix(": ")
        tags = listed.split(", ") if listed else []
        assert len(tags) <= 5 and set(tags) <= set(part.texts["tags"][i])
        assert not set(tags) & set(re.findall(r"\w+", name.lower()))


def test_fingerprint(emoji):
    assert emoji.fingerprint == fingerprint(emoji.splits, emoji.classes)
    part = emoji.split("report")
    part.texts["caption"][0] += "!"
    assert emoji.fingerprint != fingerprint(emoji.splits, emoji.classes)
    part.texts["caption"][0] = part.texts["caption"][0][:-1]


def test_unknown_split_rule():
    with pytest.raises(CabenchError, match="did you mean 'style_combo'"):
        load_dataset("emoji", split="style-combo")
