"""Encode a data set's images once as a VAE's latents: `cabench data encode`.

OUT/job.json          what decides the latents; a folder holds one job
OUT/checked.json      result of reading every image
OUT/SPLIT-latents-00000.npy   (rows, F, 2, C, h, w) float16: the posterior's mean and standard
                      deviation, unscaled. In generator-train, if images may be mirrored, F = 2: the
                      mirrored image is encoded too, since its latent is not the mirrored latent.
OUT/SPLIT-pixels-00000.npy    (rows, 3, size, size) uint8: the images that metrics compare with; of
                      generator-train only the first shards, for the search for memorised images
OUT/done.json         sha256 of each finished file, updated after each shard
OUT/facts.json        what `latents` reads; written last

A shard is encoded in batches from its first row and written atomically, so an interrupted run
resumes to the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image, ImageOps

from cabench.data.catalogue import Catalogue, check
from cabench.data.dataset import SPLITS
from cabench.errors import CabenchError, DataMissing, shown
from cabench.runtime.files import PART, atomic_path, file_hash, read_json, write_json

if TYPE_CHECKING:
    from cabench.data.vae import VAE

VERSION = 1
TRAINED_ON, SCORED_WITH = SPLITS[0], SPLITS[1:]
JOB, CHECKED, DONE, FACTS = "job.json", "checked.json", "done.json", "facts.json"
LOCK = ".lock"
KEPT = 10_000  # images of generator-train whose pixels are kept, rounded up to whole shards
ROWS = 8192  # per shard: few files, since every memory-mapped file stays open

Progress = Callable[[str, int, int], None]  # stage, images done, images in all
Files = dict[str, dict[str, list[str]]]  # split -> "latents" | "pixels" -> file names


class UnreadableImages(CabenchError):
    """Some images cannot be read; `lines` lists them."""

    def __init__(self, lines: list[str]):
        super().__init__(
            f"unreadable images: {len(lines):,}; replace or remove them, or skip them with "
            "--skip-unreadable; nothing was encoded"
        )
        self.lines = lines


@dataclass(frozen=True)
class Job:
    """An encoding: the catalogue, the VAE, and the options that decide the bytes."""

    # fmt: off
    catalogue: Catalogue
    vae: VAE
    out: Path            # the folder of the latents
    size: int            # pixels per side of the images
    batch: int = 32      # images encoded at once
    rows: int = ROWS     # images per shard
    # fmt: on

    @property
    def content(self) -> dict[str, Any]:
        """What decides the bytes of an encoding on a given machine; CabenchError if invalid."""
        catalogue, vae = self.catalogue, self.vae
        if others := [name for name in catalogue.splits if name not in SPLITS]:
            raise CabenchError(
                f"{catalogue.name}: latents hold the splits {', '.join(SPLITS)} only, not "
                f"{', '.join(others)}"
            )
        if self.size % vae.factor:
            raise CabenchError(
                f"--size: expected a multiple of {vae.factor}, the VAE's downsampling factor, got "
                f"{self.size}"
            )
        return {
            "version": VERSION,
            "data": catalogue.name,
            "listed": catalogue.key,
            "size": self.size,
            "flip": catalogue.flip,
            "batch": self.batch,
            "rows": self.rows,
            "kept": KEPT,
            "vae": vae.facts,
        }


@dataclass
class EncodeResult:
    """What a run of `encode` did."""

    # fmt: off
    skipped: list[str] = field(default_factory=list)         # one line per unreadable image
    images: int = 0                                          # encoded in this run
    seconds: float = 0.0                                     # spent on them
    reused: int = 0                                          # images encoded by earlier runs
    facts: dict[str, Any] = field(default_factory=dict)      # content of facts.json
    # fmt: on


def encode(
    job: Job, skip_unreadable: bool = False, progress: Progress = lambda *_: None
) -> EncodeResult:
    """Encode what is missing in the job's folder.

    UnreadableImages lists all images that cannot be read, unless they are to be skipped.
    """
    if (channels := job.catalogue.shape[0]) not in (1, 3):
        raise CabenchError(
            f"{job.catalogue.name}: a VAE takes images of 1 or 3 channels, got {channels}"
        )
    content = job.content
    job.out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(job.out / LOCK, timeout=0):
            _claim(job.out, content)
            return _encode(job, skip_unreadable, progress)
    except Timeout:
        raise CabenchError(
            f"{job.out}: another process is encoding into it; wait until it ends"
        ) from None


def _encode(job: Job, skip_unreadable: bool, progress: Progress) -> EncodeResult:
    checked = _checked(job, progress)
    unreadable = [line for errors in checked["damaged"].values() for line in errors.values()]
    lines = [*(f"{job.catalogue.name}: {line}" for line in job.catalogue.problems), *unreadable]
    if lines and not skip_unreadable:
        raise UnreadableImages(lines)
    result = EncodeResult(skipped=lines)
    hashes: dict[str, str] = read_json(job.out / DONE) if (job.out / DONE).exists() else {}
    files: Files = {}
    total = sum(len(job.catalogue.splits[name]) for name in SPLITS) - len(unreadable)
    done = 0
    for name in SPLITS:
        skipped = {int(row) for row in checked["damaged"][name]}
        rows = [row for row in range(len(job.catalogue.splits[name])) if row not in skipped]
        if not rows:
            raise DataMissing(f"{job.catalogue.name}: the split '{name}' has no readable image")
        for number, start in enumerate(range(0, len(rows), job.rows)):
            part = rows[start : start + job.rows]
            kinds = ("latents", "pixels") if name in SCORED_WITH or start < KEPT else ("latents",)
            paths = {kind: job.out / f"{name}-{kind}-{number:05}.npy" for kind in kinds}
            for kind, path in paths.items():
                files.setdefault(name, {}).setdefault(kind, []).append(path.name)
            if all(path.is_file() and path.name in hashes for path in paths.values()):
                result.reused += len(part)
            else:
                began = time.perf_counter()
                hashes |= _write_shard(
                    job, name, part, paths, lambda n, done=done: progress("encode", done + n, total)
                )
                write_json(job.out / DONE, hashes)
                result.images += len(part)
                result.seconds += time.perf_counter() - began
            done += len(part)
            progress("encode", done, total)
        hashes |= _write_conditions(job, name, rows)
    result.facts = _facts(job, checked["digests"], unreadable, files, hashes)
    write_json(job.out / FACTS, result.facts)
    return result


def _claim(out: Path, content: dict[str, Any]) -> None:
    """Record the job in an empty folder; CabenchError if the folder holds anything else."""
    for path in out.glob(f".*{PART}"):  # of a process that was killed
        path.unlink()
    if (out / JOB).exists():
        earlier = read_json(out / JOB)
        if earlier != content and not (out / DONE).exists():  # nothing is encoded yet
            (out / CHECKED).unlink(missing_ok=True)
            write_json(out / JOB, content)
        elif earlier != content:
            differing = [key for key in content if earlier.get(key) != content[key]]
            key = differing[0]
            raise CabenchError(
                f"{out} holds another encoding, with other values of {', '.join(differing)} "
                f"({key}: {shown(earlier.get(key))} there, {shown(content[key])} here); "
                "name another folder (--out DIR)"
            )
    elif any(p.name != LOCK for p in out.iterdir()):
        raise CabenchError(f"{out} holds other files; name a new or empty folder (--out DIR)")
    else:
        write_json(out / JOB, content)


def _checked(job: Job, progress: Progress) -> dict[str, Any]:
    """The result of `check`, cached: {damaged: {split: {row: text}}, digests: {split: sha256}}."""
    path = job.out / CHECKED
    if not path.exists():
        total = sum(map(len, job.catalogue.splits.values()))
        result = check(job.catalogue, lambda count: progress("check", count, total))
        write_json(path, {"damaged": result.errors, "digests": result.digests})
    return read_json(path)


def _write_shard(
    job: Job, name: str, rows: list[int], paths: dict[str, Path], progress: Callable[[int], None]
) -> dict[str, str]:
    """Write a shard's files {"latents" | "pixels": path}; their sha256 by file name."""
    vae, size = job.vae, job.size
    mirrored = name == TRAINED_ON and job.catalogue.flip
    side = size // vae.factor
    latent = (2 if mirrored else 1, 2, vae.channels, side, side)
    row = {"latents": (np.float16, latent), "pixels": (np.uint8, (3, size, size))}
    with ExitStack() as stack:
        parts = {kind: stack.enter_context(atomic_path(path)) for kind, path in paths.items()}
        arrays = {  # on disk, not in memory
            kind: np.lib.format.open_memmap(part, "w+", dtype, (len(rows), *shape))
            for kind, part in parts.items()
            for dtype, shape in [row[kind]]
        }
        start = 0
        for images in _batches(job, name, rows):  # (B, 3, size, size)
            views = [images, images[..., ::-1]] if mirrored else [images]
            moments = np.stack([_moments(vae, view) for view in views], 1).astype(np.float16)
            if not np.isfinite(moments).all():
                raise CabenchError(f"the VAE's latents of '{name}' are not finite")
            part = slice(start, start + len(images))
            arrays["latents"][part] = moments  # (B, F, 2, C, h, w)
            if "pixels" in arrays:
                arrays["pixels"][part] = images
            start = part.stop
            progress(start)
        for array in arrays.values():
            array.flush()
        return {paths[kind].name: file_hash(part) for kind, part in parts.items()}


def _moments(vae: VAE, images: np.ndarray) -> np.ndarray:
    """Posterior mean and standard deviation, (B, 2, C, h, w), of images (B, 3, H, W) uint8."""
    import torch

    mean, std = vae.encode(torch.from_numpy(np.ascontiguousarray(images)))
    return torch.stack([mean, std], 1).numpy()


def _batches(job: Job, name: str, rows: list[int]) -> Iterator[np.ndarray]:
    """The images of some rows of a split, (B, 3, size, size) uint8."""
    batch = []
    for image in job.catalogue.decoded(name, rows):
        if isinstance(image, DataMissing):
            raise DataMissing(f"{image} (it was readable when the encoding began)")
        batch.append(to_rgb(image, job.size))
        if len(batch) == job.batch:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def to_rgb(image: np.ndarray, size: int) -> np.ndarray:
    """(C, H, W) uint8 -> (3, size, size): grey is repeated; resized and cropped as in `decode`."""
    image = np.repeat(image, 3, 0) if len(image) == 1 else image
    return fitted(image, size, Image.Resampling.LANCZOS)


def fitted(image: np.ndarray, size: int, resampling: Image.Resampling) -> np.ndarray:
    """(C, H, W) uint8 -> (C, size, size), resized and cropped as in `decode`; C is 1 or 3."""
    if image.shape[1:] == (size, size):
        return image
    pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
    resized = Image.fromarray(pixels.squeeze(2) if len(image) == 1 else pixels)
    resized = ImageOps.fit(resized, (size, size), resampling)
    return np.asarray(resized).reshape(size, size, len(image)).transpose(2, 0, 1)


def _write_conditions(job: Job, name: str, rows: list[int]) -> dict[str, str]:
    """Write the streams, vectors, texts and maps of some rows of a split; sha256 by file name."""
    members, hashes = job.catalogue.splits[name], {}
    for stream, values in [*members.streams.items(), *members.vectors.items()]:
        path = job.out / f"{name}-stream-{stream}.npy"
        with atomic_path(path) as part:
            with open(part, "wb") as f:
                np.save(f, values[rows])
            hashes[path.name] = file_hash(part)
    if members.texts:
        path = job.out / f"{name}-texts.json"
        write_json(
            path, {stream: [texts[i] for i in rows] for stream, texts in members.texts.items()}
        )
        hashes[path.name] = file_hash(path)
    for stream in job.catalogue.maps:
        path = job.out / f"{name}-map-{stream}.npy"
        with atomic_path(path) as part:
            _write_maps(job, name, rows, stream, part)
            hashes[path.name] = file_hash(part)
    return hashes


def _write_maps(job: Job, name: str, rows: list[int], stream: str, path: Path) -> None:
    """Write a stream's maps of some rows of a split, (N, C, size, size) uint8."""
    channels, *_ = job.catalogue.maps[stream].shape
    shape = (len(rows), channels, job.size, job.size)
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    for i, values in enumerate(job.catalogue.decoded(name, rows, stream=stream)):
        if isinstance(values, DataMissing):
            raise DataMissing(f"{values} (it was readable when the encoding began)")
        array[i] = fitted(values, job.size, Image.Resampling.NEAREST)
    array.flush()


CONTENT = ("version", "data", "classes", "flip", "size", "vae", "pictures", "files")


def digest(content: Mapping[str, Any]) -> str:
    """The fingerprint of latents, from the values of the keys CONTENT of facts.json."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _facts(
    job: Job, digests: dict[str, str], skipped: list[str], files: Files, hashes: dict[str, str]
) -> dict[str, Any]:
    """What `latents` reads; the fingerprint covers all that training and metrics read."""
    catalogue = job.catalogue
    content = {
        "version": VERSION,
        "data": catalogue.name,
        "classes": catalogue.classes,
        "flip": catalogue.flip,
        "size": job.size,
        "vae": job.vae.facts,
        "pictures": digests,
        "files": dict(sorted(hashes.items())),
    }
    return content | {
        "fingerprint": digest(content),
        "licence": catalogue.licence,
        "vae_path": job.vae.path,
        "splits": files,
        "streams": {name: sorted(catalogue.splits[name].streams) for name in SPLITS},
        "vectors": {name: sorted(catalogue.splits[name].vectors) for name in SPLITS},
        "texts": {name: sorted(catalogue.splits[name].texts) for name in SPLITS},
        "maps": sorted(catalogue.maps),
        "skipped": skipped,
    }
