"""COCO's captioned photographs (Lin et al. 2014): captions json files and folders of pictures.

<path>/annotations/captions_train<year>.json and captions_val<year>.json (or beside the folders),
<path>/train<year>/ and <path>/val<year>/. Each picture has five captions or so, all of them kept:
texts["text"] is a list of captions for each picture. The shorter side is resized to `size`, the
longer one cropped about its centre.

report is the validation set; the training set is cut by a hash of the picture's id, the share
`judge` of it to judge-train: .38 of 2014's 82,783 are 31,400, enough to judge 30,000 samples.
Scores match labels, and COCO's pictures have no single class: all have the label 'picture'.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from cabench.data.catalogue import Catalogue, Members, lists
from cabench.data.dataset import SPLITS, Dataset
from cabench.data.decoded import decode, load
from cabench.data.sources.folder import Side, draw_of, split_of
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
    """COCO's photographs with their captions: captions json files and folders of pictures."""
    return load(listing(path, size, year, judge, flip))


@lists("coco")
def listing(
    path: str,
    size: Side = 256,
    year: Literal[2014, 2017] = 2014,
    judge: Share = 0.38,
    flip: bool = False,
) -> Catalogue:
    """The captioned pictures by path."""
    root, shape = Path(path), (3, size, size)
    members: dict[str, list[str]] = {name: [] for name in SPLITS}
    captions: dict[str, list[list[str]]] = {name: [] for name in SPLITS}
    digest = hashlib.sha256(json.dumps([year, judge]).encode())
    for part, shares in (("train", (1 - judge, judge, 0.0)), ("val", (0.0, 0.0, 1.0))):
        place = f"{part}{year}"
        file = find_captions(root, place, year)
        for number, name, told in read_captions(file, year):
            split = split_of(draw_of(str(number)), shares)
            members[split].append(f"{place}/{name}")
            captions[split].append(told)
            digest.update(json.dumps([number, name, told, _size(root / place / name)]).encode())
    for name, pictures in members.items():
        if not pictures:
            raise DataMissing(f"coco: {root} holds too few pictures, none falls to '{name}'")
    return Catalogue(
        name="coco",
        licence="captions CC BY 4.0 (COCO Consortium); pictures: Flickr's terms of use",
        classes={"label": ["picture"]},
        flip=flip,
        shape=shape,
        splits={
            name: Members(
                pictures, {"label": np.zeros(len(pictures), np.int64)}, {"text": captions[name]}
            )
            for name, pictures in members.items()
        },
        read=partial(_read, root, members, shape),
        key=digest.hexdigest(),
    )


def _read(
    root: Path, members: dict[str, list[str]], shape: tuple[int, int, int], split: str, row: int
) -> np.ndarray:
    return decode(root / members[split][row], shape, "coco")


def _size(path: Path) -> list[int]:
    """[bytes, time of change]; [] of a picture that isn't there, which reading it will say."""
    try:
        stat = path.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns]


def find_captions(root: Path, place: str, year: int) -> Path:
    name = f"captions_{place}.json"
    tried = [root / "annotations" / name, root / name]
    for file in tried:
        if file.is_file():
            return file
    looked = " and ".join(map(str, tried))
    raise DataMissing(f"coco: looked for {looked}, found none; {HOW.format(year)}")


def read_captions(file: Path, year: int) -> list[tuple[int, str, list[str]]]:
    """(id, file name, captions) of each picture that has a caption, by id."""
    try:
        told: dict[str, Any] = json.loads(file.read_text("utf-8"))
        names = {int(image["id"]): str(image["file_name"]) for image in told["images"]}
        found: dict[int, list[tuple[int, str]]] = {}
        for note in told["annotations"]:
            text = " ".join(str(note["caption"]).split())
            found.setdefault(int(note["image_id"]), []).append((int(note["id"]), text))
        return [(n, names[n], [text for _, text in sorted(found[n])]) for n in sorted(found)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataMissing(
            f"coco: {file} isn't a file of captions ({type(error).__name__}: {error}); "
            f"{HOW.format(year)}"
        ) from None
