"""COCO: captioned photographs (Lin et al. 2014, arXiv 1405.0312) from captions files and folders.

<path>/annotations/captions_train<year>.json and captions_val<year>.json (or directly in <path>),
<path>/train<year>/ and <path>/val<year>/. An image has about five captions, all of which are kept:
texts["text"] holds a list per image. The shorter side is resized to `size`, the longer one cropped
about the centre.

report is the validation set. The training set is split by a hash of the image's id: the share
`judge` goes to judge-train. Of 2014's 82,783 images, 0.38 are 31,400, enough to compare 30,000
samples with. Metrics match samples by label, and COCO's images have no single class: all have the
label 'picture'.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from cabench.data.catalogue import Catalogue, Members, opener
from cabench.data.dataset import SPLITS, Dataset
from cabench.data.decoded import Pixels, load
from cabench.data.sources.folder import Side, read_image, split_of, uniform
from cabench.errors import DataMissing
from cabench.registry import DATASETS

Share = Annotated[float, Field(gt=0, lt=1)]
HOW = (
    "get train{0}.zip, val{0}.zip and the annotations from https://cocodataset.org/#download, "
    "unpack them into one folder and name it (`path: DIR`)"
)


@DATASETS.register("coco")
def coco(
    path: str,
    size: Side = 256,
    year: Literal[2014, 2017] = 2014,
    judge: Share = 0.38,
    flip: bool = False,
) -> Dataset:
    """COCO's photographs with their captions: captions files and folders of images."""
    return load(catalogue(path, size, year, judge, flip))


@opener("coco")
def catalogue(
    path: str,
    size: Side = 256,
    year: Literal[2014, 2017] = 2014,
    judge: Share = 0.38,
    flip: bool = False,
) -> Catalogue:
    """The captioned images, listed by path."""
    root = Path(path)
    members: dict[str, list[str]] = {name: [] for name in SPLITS}
    captions: dict[str, list[list[str]]] = {name: [] for name in SPLITS}
    digest = hashlib.sha256(json.dumps([year, judge]).encode())
    for part, shares in (("train", (1 - judge, judge, 0.0)), ("val", (0.0, 0.0, 1.0))):
        folder = f"{part}{year}"
        file = find_captions(root, folder, year)
        for number, name, texts in read_captions(file, year):
            split = split_of(uniform(str(number)), shares)
            members[split].append(f"{folder}/{name}")
            captions[split].append(texts)
            stamp = [number, name, texts, _stamp(root / folder / name)]
            digest.update(json.dumps(stamp).encode())
    for name, images in members.items():
        if not images:
            raise DataMissing(f"coco: too few images in {root}: none for the split '{name}'")
    return Catalogue(
        name="coco",
        licence="captions CC BY 4.0 (COCO Consortium); pictures: Flickr's terms of use",
        classes={"label": ["picture"]},
        flip=flip,
        shape=(3, size, size),
        splits={
            name: Members(
                images, {"label": np.zeros(len(images), np.int64)}, {"text": captions[name]}
            )
            for name, images in members.items()
        },
        read=partial(read_image, "coco", root, members, Pixels((3, size, size))),
        key=digest.hexdigest(),
    )


def _stamp(path: Path) -> list[int]:
    """[bytes, modification time in ns]; [] for a missing file, which reading reports."""
    try:
        stat = path.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns]


def find_captions(root: Path, folder: str, year: int) -> Path:
    """The captions file for a folder of images; DataMissing if there is none."""
    name = f"captions_{folder}.json"
    candidates = [root / "annotations" / name, root / name]
    for file in candidates:
        if file.is_file():
            return file
    paths = " or ".join(map(str, candidates))
    raise DataMissing(f"coco: no such file: {paths}; {HOW.format(year)}")


def read_captions(file: Path, year: int) -> list[tuple[int, str, list[str]]]:
    """(id, file name, captions) of each captioned image, sorted by id."""
    try:
        content: dict[str, Any] = json.loads(file.read_text("utf-8"))
        names = {int(image["id"]): str(image["file_name"]) for image in content["images"]}
        captions: dict[int, list[tuple[int, str]]] = {}
        for note in content["annotations"]:
            text = " ".join(str(note["caption"]).split())
            captions.setdefault(int(note["image_id"]), []).append((int(note["id"]), text))
        return [(n, names[n], [text for _, text in sorted(captions[n])]) for n in sorted(captions)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataMissing(
            f"coco: {file} is not a captions file ({type(error).__name__}: {error}); "
            f"{HOW.format(year)}"
        ) from None
