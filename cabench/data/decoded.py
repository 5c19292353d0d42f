"""Pictures of files, decoded once and kept in .cabench/data/ as memory-mapped arrays.

The kept arrays have a key of what was listed (every file's relative path, length and time of
change); the data set's fingerprint is over what was decoded.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from cabench.data.catalogue import Catalogue
from cabench.data.dataset import SPLITS, Dataset, Split, fingerprint
from cabench.errors import DataMissing
from cabench.runtime.files import LOG

CACHE = Path(".cabench/data")
VERSION = 1  # of the decoding; part of the cache's key


def load(catalogue: Catalogue) -> Dataset:
    """The catalogue's data set; decodes what is not kept already."""
    told = json.dumps([catalogue.key, VERSION, catalogue.shape])
    made = CACHE / f"{catalogue.name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
    if not made.is_dir():
        decode_all(catalogue, made)
    dataset = _read(made, catalogue)
    if dataset is None:
        LOG.warning("%s is damaged: decoded again", made)
        shutil.rmtree(made)
        decode_all(catalogue, made)
        dataset = _read(made, catalogue)
    return dataset


def _split(catalogue: Catalogue, name: str, images: np.ndarray) -> Split:
    part = catalogue.splits[name]
    return Split(images, part.streams, part.texts)


def _read(made: Path, catalogue: Catalogue) -> Dataset | None:
    """What was decoded; None when it isn't what was written."""
    try:
        told = json.loads((made / "facts.json").read_text("utf-8"))["fingerprint"]
        splits = {  # left on disk until they are read
            name: _split(catalogue, name, np.load(made / f"{name}.npy", mmap_mode="c"))
            for name in SPLITS
        }
        whole = fingerprint(splits, catalogue.classes) == told
    except (OSError, ValueError, KeyError):
        whole = False
    if not whole:
        return None
    return Dataset(
        name=catalogue.name,
        licence=catalogue.licence,
        classes=catalogue.classes,
        flip=catalogue.flip,
        splits=splits,
        fingerprint=told,
    )


def decode_all(catalogue: Catalogue, made: Path) -> None:
    """Write each split's pictures (N, C, H, W) and the fingerprint into the new folder `made`."""
    made.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=made.parent))
    try:
        splits = {}
        for name in SPLITS:
            shape = (len(catalogue.splits[name]), *catalogue.shape)
            path = making / f"{name}.npy"
            images = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
            for i, found in enumerate(catalogue.decoded(name)):
                if isinstance(found, DataMissing):
                    raise found
                images[i] = found
            images.flush()
            splits[name] = _split(catalogue, name, images)
        facts = {"fingerprint": fingerprint(splits, catalogue.classes)}
        (making / "facts.json").write_text(json.dumps(facts), "utf-8")
        try:
            making.rename(made)
        except OSError:  # another process was first, with the same content
            if not made.is_dir():
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)


def decode(path: Path, shape: tuple[int, int, int], source: str) -> np.ndarray:
    """(C, H, W) uint8: turned upright, on white where transparent, resized, centre-cropped."""
    channels, height, width = shape
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.has_transparency_data:
                picture = picture.convert("RGBA")
                white = Image.new("RGBA", picture.size, "white")
                picture = Image.alpha_composite(white, picture)
            picture = picture.convert("RGB" if channels == 3 else "L")
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    except Exception as error:  # what Pillow raises depends on the format
        raise DataMissing(
            f"{source}: {path} doesn't read as a picture ({type(error).__name__}: {error}); "
            "replace or remove it"
        ) from error
    return np.asarray(picture).reshape(height, width, channels).transpose(2, 0, 1)
