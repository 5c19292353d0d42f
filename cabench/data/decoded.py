"""Image files decoded once, into memory-mapped arrays under .cabench/data/.

A cached set is named after what was listed (each file's relative path, length and modification
time); its fingerprint, of the decoded content, is verified whenever it is loaded.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from cabench.data.catalogue import Catalogue
from cabench.data.dataset import SPLITS, Dataset, Shape, Split, fingerprint
from cabench.errors import DataMissing
from cabench.runtime.files import atomic_folder
from cabench.runtime.sealed import Corrupted, load_or_make

CACHE = Path(".cabench/data")
VERSION = 1  # of the decoding; part of the cache's key


def load(catalogue: Catalogue) -> Dataset:
    """The catalogue's data set, decoded if it is not in the cache."""
    content = json.dumps([catalogue.key, VERSION, catalogue.shape])
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    return load_or_make(
        CACHE / f"{catalogue.name}-{key}",
        read=partial(_read, catalogue),
        make=partial(decode_all, catalogue),
        errors=(OSError,),
    )


def _read(catalogue: Catalogue, folder: Path) -> Dataset:
    """The data set in `folder`, memory-mapped; Corrupted if its fingerprint does not match."""
    expected = json.loads((folder / "facts.json").read_text("utf-8"))["fingerprint"]
    splits = {
        name: _split(catalogue, name, np.load(folder / f"{name}.npy", mmap_mode="c"))
        for name in SPLITS
    }
    if fingerprint(splits, catalogue.classes) != expected:
        raise Corrupted(f"{folder} is corrupted")
    return Dataset(
        name=catalogue.name,
        licence=catalogue.licence,
        classes=catalogue.classes,
        flip=catalogue.flip,
        splits=splits,
        fingerprint=expected,
    )


def _split(catalogue: Catalogue, name: str, images: np.ndarray) -> Split:
    members = catalogue.splits[name]
    return Split(images, members.streams, members.texts)


def decode_all(catalogue: Catalogue, folder: Path) -> None:
    """Write each split's images (N, C, H, W) and the fingerprint into the new `folder`."""
    with atomic_folder(folder) as part:
        splits = {}
        for name in SPLITS:
            shape = (len(catalogue.splits[name]), *catalogue.shape)
            images = np.lib.format.open_memmap(part / f"{name}.npy", "w+", np.uint8, shape)
            for i, image in enumerate(catalogue.decoded(name)):
                if isinstance(image, DataMissing):
                    raise image
                images[i] = image
            images.flush()
            splits[name] = _split(catalogue, name, images)
        facts = {"fingerprint": fingerprint(splits, catalogue.classes)}
        (part / "facts.json").write_text(json.dumps(facts), "utf-8")


def decode(path: Path, shape: Shape, source: str) -> np.ndarray:
    """(C, H, W) uint8 from an image file; DataMissing if it cannot be read.

    The image is rotated as its EXIF data says and composited on white; its shorter side is resized
    to fit (Lanczos), its longer side cropped about the centre.
    """
    channels, height, width = shape
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image)
            image = image.convert("RGB" if channels == 3 else "L")
            image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    except Exception as error:  # Pillow's errors depend on the format
        raise DataMissing(
            f"{source}: {path} cannot be read as an image ({str(error) or type(error).__name__}); "
            "replace or remove it"
        ) from error
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)
