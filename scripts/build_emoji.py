"""Build cabench/data/files/emoji.* from four npm packages.

cd DIR && npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0 \\
    @lobehub/fluent-emoji-3d@1.1.0 emojibase-data@17.0.0
python scripts/build_emoji.py --source DIR

Every image is composited on white and averaged down to 32x32. Names, tags and groups are
emojibase's, without the group 'component' (skin tones, hair), the regional indicators and skin-tone
variants. Concepts that are near-duplicates form a cluster, which no split cuts.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from cabench.data import packed
from cabench.data.sources.emoji import RULES, assemble, split_of
from cabench.errors import DataMissing

STYLES = {  # style -> tarball, folder of its images
    "noto": ("emoji-datasource-google-16.0.0.tgz", "package/img/google/64/"),
    "twemoji": ("emoji-datasource-twitter-16.0.0.tgz", "package/img/twitter/64/"),
    "fluent": ("lobehub-fluent-emoji-3d-1.1.0.tgz", "package/assets/"),
}
NAMES = ("emojibase-data-17.0.0.tgz", "package/")

# Added by the tarball to Microsoft's release of Fluent, so not under its licence: country flags are
# Noto's drawings; families and couples are of unknown origin.
NOT_FLUENT = {"family", "country-flag", "subdivision-flag"}
FAMILY = "1f46a"  # the one family outside the subgroup 'family'

SIZE = 32  # pixels a side
NEAR = 0.05  # near-duplicates: squared distance over the smaller non-white energy, at 16x16
# Whole clusters go to generator-train if they have
LARGEST = 40  # more concepts than this, or
BULK = 1 / 4  # more images than this fraction of report's share of their group
SHARES = (0.70, 0.15, 0.15)
GENERATOR, JUDGE, REPORT = range(3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default=".", type=Path, help="folder with the four tarballs")
    source = parser.parse_args().source
    concepts, images, concept, style = read(source)
    near = near_pairs(images)
    cluster = clusters(concepts, concept[near])
    group = np.unique([c["group"] for c in concepts], return_inverse=True)[1][concept]
    split = split_clusters(cluster[concept], group, np.bincount(cluster))
    combo = split_style_combo(cluster[concept], group, concept, style, split, near)

    arrays = {
        "images": images,
        "concept": concept.astype(np.int16),
        "style": style.astype(np.uint8),
        "cluster": cluster.astype(np.int16),
        "split_cluster": split,
        "split_style_combo": combo,
    }
    facts = {"styles": list(STYLES), "concepts": concepts}
    facts["fingerprint"] = {rule: assemble(arrays, facts, rule).fingerprint for rule in RULES}
    packed.write("emoji", arrays, facts)

    counts_by_style = ", ".join(f"{np.sum(style == k):,} {name}" for k, name in enumerate(STYLES))
    print(
        f"{len(images):,} images ({counts_by_style}) of {len(concepts):,} concepts in "
        f"{len({c['group'] for c in concepts})} groups, "
        f"{len({c['subgroup'] for c in concepts})} subgroups"
    )
    sizes = sorted(Counter(np.bincount(cluster).tolist()).items())
    print(
        f"{cluster.max() + 1:,} clusters; concepts per cluster x number of clusters: "
        + ", ".join(f"{size} x {count}" for size, count in sizes)
    )
    for rule in RULES:
        counts = ", ".join(f"{count:,}" for count in np.bincount(split_of(arrays, rule)))
        print(f"{rule}: {counts} images, fingerprint {facts['fingerprint'][rule]}")


def unpack(source: Path, tarball: str, folder: str, pattern: str) -> dict[str, bytes]:
    """{path in `folder`: content} of the files whose path matches a regular expression."""
    path = source / tarball
    if not path.is_file():
        raise DataMissing(f"emoji: no such file: {path}; `npm pack` it (see {__file__})")
    with tarfile.open(path) as tar:
        return {
            member.name.removeprefix(folder): file.read()
            for member in tar
            if re.fullmatch(re.escape(folder) + pattern, member.name)
            and (file := tar.extractfile(member)) is not None
        }


def plain(hexcode: str) -> str:
    """Lower-case code points without the variation selector, which not all vendors use."""
    return "-".join(code for code in hexcode.lower().split("-") if code != "fe0f")


def read(source: Path) -> tuple[list[dict], np.ndarray, np.ndarray, np.ndarray]:
    """Concepts in Unicode's order; images (N, 3, 32, 32) uint8, their concepts and styles (N,)."""
    files = unpack(source, *NAMES, r"(en/data|meta/groups)\.json")
    meta = json.loads(files["meta/groups.json"])
    rows = [row for row in json.loads(files["en/data.json"]) if "group" in row]
    known = [
        {
            "hexcode": plain(row["hexcode"]),
            "caption": row["label"],
            "tags": row.get("tags", []),
            "group": meta["groups"][str(row["group"])],
            "subgroup": meta["subgroups"][str(row["subgroup"])],
        }
        for row in sorted(rows, key=lambda row: row["order"])
    ]
    known = [c for c in known if c["group"] != "component"]

    files_by_concept: dict[tuple[str, int], bytes] = {}
    for k, (style, place) in enumerate(STYLES.items()):
        for name, content in unpack(source, *place, r"[^/]+\.(png|webp)").items():
            files_by_concept[plain(Path(name).stem), k] = content
        if style == "fluent":
            for c in known:
                if c["subgroup"] in NOT_FLUENT or c["hexcode"] == FAMILY:
                    files_by_concept.pop((c["hexcode"], k), None)
    styles = range(len(STYLES))
    concepts = [c for c in known if any((c["hexcode"], k) in files_by_concept for k in styles)]
    rows = [
        (shrink(files_by_concept[c["hexcode"], k]), i, k)
        for k in styles
        for i, c in enumerate(concepts)
        if (c["hexcode"], k) in files_by_concept
    ]
    images, concept, style = zip(*rows, strict=True)
    return concepts, np.stack(images), np.array(concept), np.array(style)


def shrink(content: bytes) -> np.ndarray:
    """(3, 32, 32) uint8: centred on a white square, then averaged over blocks of pixels."""
    image = Image.open(io.BytesIO(content)).convert("RGBA")
    side = max(image.size)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(image, ((side - image.width) // 2, (side - image.height) // 2))
    small = square.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX)
    return np.asarray(small).transpose(2, 0, 1)


def near_pairs(images: np.ndarray) -> np.ndarray:
    """Pairs of near-duplicate images (2, P), of the same or of different styles.

    Compared at 16x16, since at 32x32 a shift by one pixel hides a duplicate.
    """
    blocks = images.reshape(len(images), 3, 16, SIZE // 16, 16, SIZE // 16)
    ink = 255 - blocks.astype(np.float32).mean((3, 5)).reshape(len(images), -1)
    energy = (ink**2).sum(1)
    distance = energy[:, None] + energy - 2 * ink @ ink.T
    near = distance < NEAR * np.minimum(energy[:, None], energy)
    return np.stack(np.nonzero(np.triu(near, k=1)))


def variant(concept: dict) -> str:
    """A key shared by concepts that differ only in gender, hair, role, direction or number."""
    if concept["group"] != "people-body":
        return concept["hexcode"]
    if concept["subgroup"] == "person-role" and re.match(
        r"1f(468|469|9d1)-200d-", concept["hexcode"]
    ):
        return "adult"  # a person and the tool of a trade
    name = concept["caption"].lower().split(":")[0]  # 'person: red hair', 'family: man, boy'
    for words, common in (
        (r"(wo)?m[ae]n and (wo)?man", "adult"),
        (r"\b(wo)?m[ae]n\b|\bpe(rson|ople)\b", "adult"),
        (r"\b(boy|girl)\b", "child"),
        (r"\bmer(maid|man|person)\b", "merperson"),
        (r"\bolder\b", "old"),
        (r"\bprince(ss)?\b|.* with crown", "prince"),
        (r"\b(santa|mrs\.|mx) claus\b", "claus"),
    ):
        name = re.sub(words, common, name)
    return " ".join(sorted(set(name.split()) - {"adult"})) or "adult"


def clusters(concepts: list[dict], near: np.ndarray) -> np.ndarray:
    """The cluster of each concept, (N,): variants and near-duplicates (2, P), by single linkage."""
    parent = list(range(len(concepts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    alike = [(i, first.setdefault(variant(c), i)) for i, c in enumerate(concepts)]
    for a, b in [*alike, *near.T.tolist()]:
        parent[root(a)] = root(b)
    return np.unique([root(i) for i in range(len(concepts))], return_inverse=True)[1]


def split_clusters(cluster: np.ndarray, group: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The split of each image (N,), given its cluster and group, and the clusters' sizes.

    Within each group, large clusters are assigned first (else 30 families would be a third of the
    people in report), then the others in a fixed random order, each to the split that is furthest
    below its share. A cluster belongs to the group of its first image.
    """
    names, first, images = np.unique(cluster, return_index=True, return_counts=True)
    split = np.full(len(names), GENERATOR, dtype=np.uint8)
    order = np.random.RandomState(0).permutation(names)
    for g in np.unique(group):
        lacking = np.array(SHARES) * np.sum(group == g)
        large = (sizes > LARGEST) | (images > BULK * lacking[REPORT])
        members = order[group[first[order]] == g]
        for c in (*members[large[members]], *members[~large[members]]):
            split[c] = GENERATOR if large[c] else np.argmax(lacking)
            lacking[split[c]] -= images[c]
    return split[cluster]


def split_style_combo(
    cluster: np.ndarray,
    group: np.ndarray,
    concept: np.ndarray,
    style: np.ndarray,
    split: np.ndarray,
    near: np.ndarray,
) -> np.ndarray:
    """The split of each image (N,) when one style of a concept is held out.

    judge-train is unchanged. The other clusters are visited in a fixed random order: one style, in
    turn, goes to report until report has its share of the group; the rest goes to generator-train.
    Excluded are clusters above LARGEST or BULK, clusters with a concept that lacks a style (its
    near-duplicates would show the held-out image), and those with near-duplicates across styles.
    """
    combo = np.where(split == JUDGE, JUDGE, GENERATOR).astype(np.uint8)
    concepts = [len(set(concept[cluster == c])) for c in range(cluster.max() + 1)]
    complete = {c for c, n in enumerate(concepts) if np.sum(cluster == c) == n * len(STYLES)}
    a, _b = near[:, style[near[0]] != style[near[1]]]
    excluded = set(cluster[a]) | {c for c, n in enumerate(concepts) if n > LARGEST}
    open_to = complete - excluded - set(cluster[split == JUDGE])
    turn = 0
    for g in np.unique(group):
        share = lacking = SHARES[REPORT] * np.sum(group == g)
        for c in np.random.RandomState(0).permutation(np.unique(cluster[group == g])):
            heldout = (cluster == c) & (style == turn % len(STYLES))
            if c in open_to and np.sum(heldout) <= min(lacking, BULK * share):
                combo[heldout] = REPORT
                open_to.remove(c)
                lacking -= np.sum(heldout)
                turn += 1
    return combo


if __name__ == "__main__":
    main()
