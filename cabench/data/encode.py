"""A data set's pictures as latents of a VAE, made once: `cabench data encode`.

OUT/job.json          what was asked for; another job in the same folder is refused
OUT/checked.json      what reading every picture showed
OUT/SPLIT-latents-00000.npy   (rows, F, 2, C, h, w) float16: the posterior's mean and deviation,
                      unscaled; in generator-train F = 2 where pictures may be mirrored: the latents
                      of the mirrored picture, which are not the mirrored latents
OUT/SPLIT-pixels-00000.npy    (rows, 3, size, size) uint8: what scores compare with; of
                      generator-train the first ones, where copies are looked for
OUT/done.json         the finished files with their sha256, written after each
OUT/facts.json        the whole, written last

A shard is encoded in batches from its first row on, and is there whole or not at all, so a run that
was stopped goes on to the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image, ImageOps

from cabench.data.catalogue import Catalogue, check
from cabench.data.dataset import SPLITS
from cabench.errors import CabenchError, DataMissing, shown
from cabench.runtime.files import PART, atomic_path, file_hash, read_json, write_json

VERSION = 1
TRAINED_ON, SCORED_WITH = SPLITS[0], SPLITS[1:]
JOB, CHECKED, DONE, FACTS = "job.json", "checked.json", "done.json", "facts.json"
LOCK = ".lock"
KEPT = 10_000  # first pictures of generator-train whose pixels are kept, in whole shards
ROWS = 8192  # of a shard: few files, since each that is mapped stays open

Progress = Callable[[str, int, int], None]  # stage, pictures done, of how many


@dataclass
class Encoded:
    """What a run did."""

    damaged: list[str] = field(default_factory=list)
    pictures: int = 0  # encoded now; a mirrored one counts once
    seconds: float = 0.0  # of that
    kept: int = 0  # were there already
    facts: dict[str, Any] = field(default_factory=dict)


class Damaged(CabenchError):
    """Pictures that don't read, and no leave to skip them."""

    def __init__(self, lines: list[str]):
        super().__init__(
            f"pictures damaged: {len(lines):,}; mend or remove them, or leave them out with "
            "--skip-damaged; nothing was encoded"
        )
        self.lines = lines


def encode(
    catalogue: Catalogue,
    vae: Any,  # cabench.data.vae.VAE
    out: Path,
    size: int,  # pixels a side
    batch: int = 32,
    skip_damaged: bool = False,
    rows: int = ROWS,
    progress: Progress = lambda *_: None,
) -> Encoded:
    """Encodes what is missing in `out`; Damaged lists all pictures that don't read."""
    job = job_of(catalogue, vae, size, batch, rows)
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / LOCK, timeout=0):
            _begin(out, job)
            return _encode(catalogue, vae, out, job, skip_damaged, progress)
    except Timeout:
        raise CabenchError(f"{out}: another process encodes there; wait for it to end") from None


def _encode(
    catalogue: Catalogue,
    vae: Any,
    out: Path,
    job: dict[str, Any],
    skip_damaged: bool,
    progress: Progress,
) -> Encoded:
    size, batch, rows = job["size"], job["batch"], job["rows"]
    seen = _checked(catalogue, out, progress)
    done = Encoded(damaged=[line for found in seen["damaged"].values() for line in found.values()])
    if done.damaged and not skip_damaged:
        raise Damaged(done.damaged)
    hashes: dict[str, str] = read_json(out / DONE) if (out / DONE).exists() else {}
    total = sum(len(catalogue.splits[name]) for name in SPLITS) - len(done.damaged)
    past, files = 0, {}
    for name in SPLITS:
        bad = {int(row) for row in seen["damaged"][name]}
        sound = [row for row in range(len(catalogue.splits[name])) if row not in bad]
        if not sound:
            raise DataMissing(f"{catalogue.name}: no sound picture falls to '{name}'")
        for number, start in enumerate(range(0, len(sound), rows)):
            part = sound[start : start + rows]
            kinds = ("latents", "pixels") if name in SCORED_WITH or start < KEPT else ("latents",)
            paths = {kind: out / f"{name}-{kind}-{number:05}.npy" for kind in kinds}
            for kind, path in paths.items():
                files.setdefault(name, {}).setdefault(kind, []).append(path.name)
            if all(path.is_file() and path.name in hashes for path in paths.values()):
                done.kept += len(part)
            else:
                began = time.perf_counter()
                told = lambda n, past=past: progress("encode", past + n, total)  # noqa: E731
                hashes |= _shard(catalogue, name, part, vae, size, batch, paths, told)
                write_json(out / DONE, hashes)
                done.pictures += len(part)
                done.seconds += time.perf_counter() - began
            past += len(part)
            progress("encode", past, total)
        hashes |= _beside(catalogue, name, sound, out)
    done.facts = _facts(catalogue, vae, size, seen, files, hashes)
    write_json(out / FACTS, done.facts)
    return done


def job_of(catalogue: Catalogue, vae: Any, size: int, batch: int, rows: int) -> dict[str, Any]:
    """What decides the bytes of an encoding, given the machine."""
    if further := [name for name in catalogue.splits if name not in SPLITS]:
        raise CabenchError(
            f"{catalogue.name}: latents hold {', '.join(SPLITS)}; there is no place in them for "
            f"{', '.join(further)}"
        )
    if size % vae.factor:
        raise CabenchError(
            f"--size: found {size}; the VAE makes one cell of {vae.factor} pixels: a multiple of it"
        )
    return {
        "version": VERSION,
        "data": catalogue.name,
        "listed": catalogue.key,
        "size": size,
        "flip": catalogue.flip,
        "batch": batch,
        "rows": rows,
        "kept": KEPT,
        "vae": vae.facts,
    }


def _begin(out: Path, job: dict[str, Any]) -> None:
    """Makes the folder this job's, or goes on in it."""
    for path in out.glob(f".*{PART}"):  # of a process that was killed
        path.unlink()
    if (out / JOB).exists():
        held = read_json(out / JOB)
        if held != job and not (out / DONE).exists():  # nothing is encoded yet
            (out / CHECKED).unlink(missing_ok=True)
            write_json(out / JOB, job)
        elif held != job:
            differ = [key for key in job if held.get(key) != job[key]]
            raise CabenchError(
                f"{out} holds another encoding: {', '.join(differ)} differ "
                f"(found {shown(held.get(differ[0]))}, asked for {shown(job[differ[0]])}); "
                "take another folder"
            )
    elif any(p.name != LOCK for p in out.iterdir()):
        raise CabenchError(f"{out} holds other files; name a new or empty folder (--out DIR)")
    else:
        write_json(out / JOB, job)


def _checked(catalogue: Catalogue, out: Path, progress: Progress) -> dict[str, Any]:
    """What `check` found, kept: {damaged: {split: {row: text}}, digests: {split: sha256}}."""
    if (out / CHECKED).exists():
        return read_json(out / CHECKED)
    total = sum(map(len, catalogue.splits.values()))
    found = check(catalogue, lambda count: progress("check", count, total))
    seen = {"damaged": found.damaged, "digests": found.digests}
    write_json(out / CHECKED, seen)
    return read_json(out / CHECKED)


def _shard(
    catalogue: Catalogue,
    name: str,
    rows: list[int],
    vae: Any,
    size: int,
    batch: int,
    paths: dict[str, Path],
    told: Callable[[int], None],
) -> dict[str, str]:
    """Writes the files of one shard, {latents, pixels}; their sha256 by name."""
    mirrored = name == TRAINED_ON and catalogue.flip
    side = size // vae.factor
    latent = (2 if mirrored else 1, 2, vae.channels, side, side)
    rowwise = {"latents": (np.float16, latent), "pixels": (np.uint8, (3, size, size))}
    with ExitStack() as stack:
        parts = {kind: stack.enter_context(atomic_path(path)) for kind, path in paths.items()}
        arrays = {  # on disk, not in memory
            kind: np.lib.format.open_memmap(part, "w+", dtype, (len(rows), *shape))
            for kind, part in parts.items()
            for dtype, shape in [rowwise[kind]]
        }
        start = 0
        for pictures in _batches(catalogue, name, rows, size, batch):
            turns = [pictures, pictures[..., ::-1]] if mirrored else [pictures]
            made = np.stack([_moments(vae, turned) for turned in turns], 1).astype(np.float16)
            if not np.isfinite(made).all():
                raise CabenchError(f"the VAE made latents that are not finite, of {name}")
            part = slice(start, start + len(pictures))
            arrays["latents"][part] = made
            if "pixels" in arrays:
                arrays["pixels"][part] = pictures
            start = part.stop
            told(start)
        for array in arrays.values():
            array.flush()
        return {paths[kind].name: file_hash(part) for kind, part in parts.items()}


def _moments(vae: Any, pictures: np.ndarray) -> np.ndarray:
    """(B, 2, C, h, w) of pictures (B, 3, H, W) uint8."""
    import torch

    mean, deviation = vae.encode(torch.from_numpy(np.ascontiguousarray(pictures)))
    return torch.stack([mean, deviation], 1).numpy()


def _batches(
    catalogue: Catalogue, name: str, rows: list[int], size: int, batch: int
) -> Iterator[np.ndarray]:
    held = []
    for found in catalogue.decoded(name, rows):
        if isinstance(found, DataMissing):
            raise DataMissing(f"{found} (it was sound when the encoding began)")
        held.append(to_rgb(found, size))
        if len(held) == batch:
            yield np.stack(held)
            held = []
    if held:
        yield np.stack(held)


def to_rgb(picture: np.ndarray, size: int) -> np.ndarray:
    """(C, H, W) -> (3, size, size): grey three times, resized as folders are."""
    if len(picture) == 1:
        picture = np.repeat(picture, 3, 0)
    if picture.shape[1:] == (size, size):
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
    image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(image).transpose(2, 0, 1)


def _save(path: Path, array: np.ndarray) -> str:
    with atomic_path(path) as part:
        with open(part, "wb") as f:
            np.save(f, array)
        return file_hash(part)


def _beside(catalogue: Catalogue, name: str, rows: list[int], out: Path) -> dict[str, str]:
    """Streams and texts of a split's sound pictures."""
    part, hashes = catalogue.splits[name], {}
    for stream, values in part.streams.items():
        path = out / f"{name}-stream-{stream}.npy"
        hashes[path.name] = _save(path, values[rows].astype(np.int64))
    if part.texts:
        path = out / f"{name}-texts.json"
        write_json(path, {text: [values[i] for i in rows] for text, values in part.texts.items()})
        hashes[path.name] = file_hash(path)
    return hashes


def _facts(
    catalogue: Catalogue,
    vae: Any,
    size: int,
    seen: dict[str, Any],
    files: dict[str, dict[str, list[str]]],
    hashes: dict[str, str],
) -> dict[str, Any]:
    """All that `latents` reads; the fingerprint is of what is trained on and scored with."""
    content = {
        "version": VERSION,
        "data": catalogue.name,
        "classes": catalogue.classes,
        "flip": catalogue.flip,
        "size": size,
        "vae": vae.facts,
        "pictures": seen["digests"],
        "files": dict(sorted(hashes.items())),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return content | {
        "fingerprint": digest,
        "licence": catalogue.licence,
        "vae_path": vae.path,
        "splits": files,
        "streams": {name: sorted(catalogue.splits[name].streams) for name in SPLITS},
        "texts": {name: sorted(catalogue.splits[name].texts) for name in SPLITS},
        "skipped": [line for found in seen["damaged"].values() for line in found.values()],
    }
