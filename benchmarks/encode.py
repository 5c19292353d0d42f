"""What it takes to list, check and encode many pictures.

    python benchmarks/encode.py [--pictures 2000] [--files 100000] [--sd 4] [--folder DIR]

In a temporary folder (or DIR, where it stays): PNG files of 64 px, drawn from Fashion-MNIST and the
emoji, encoded with a small VAE of random weights; so many small files, listed and checked, each in
a process of its own for its peak memory; and a few pictures of 256 px encoded with Stable
Diffusion's architecture (random weights: the time is the same). One thread.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cabench.data import load_dataset, open_catalogue
from cabench.data.encode import Job, encode
from cabench.data.vae import VAE

SIDE = 64
SMALL = dict(block_out_channels=(16, 32, 32), norm_num_groups=8)
STABLE_DIFFUSION = dict(block_out_channels=(128, 256, 512, 512), norm_num_groups=32)

MEASURED = """
import re, sys, time
from pathlib import Path
from cabench.data import open_catalogue
from cabench.data.catalogue import check

def peak():  # of this process alone, kB; getrusage's is at least that of the one that started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

start = peak()
began = time.perf_counter()
listing = open_catalogue("folder", path=sys.argv[1], size=int(sys.argv[2]))
listed = time.perf_counter()
if sys.argv[3] == "check":
    assert not check(listing).lines
ended = time.perf_counter()
count = sum(map(len, listing.splits.values()))
told = f"listed in {listed - began:.1f} s"
if sys.argv[3] == "check":
    told += f", checked in {ended - listed:.1f} s ({count / (ended - listed):,.0f}/s)"
told += f", processor time {time.process_time():.1f} s"
print(f"{count:,} files {told}; peak memory {peak() / 1024:,.0f} MB, {start / 1024:,.0f} before")
"""


def save_vae(folder: Path, block_out_channels: tuple[int, ...], norm_num_groups: int) -> VAE:
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    levels = len(block_out_channels)
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=block_out_channels,
        layers_per_block=2,
        norm_num_groups=norm_num_groups,
        latent_channels=4,
    ).save_pretrained(folder)
    return VAE(str(folder))


def draw(folder: Path, count: int, side: int) -> None:
    """`count` PNG files in two classes, from the packaged pictures."""
    for k, source in enumerate(("fashion16", "emoji")):
        images = load_dataset(source).split("generator-train").images
        (folder / source).mkdir(parents=True, exist_ok=True)
        for i in range(count // 2):
            picture = np.broadcast_to(images[i % len(images)], (3, *images.shape[2:]))
            image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
            image.resize((side, side)).save(folder / source / f"{k}{i:06}.png")


def copies(folder: Path, count: int) -> None:
    """`count` files of 8x8 pixels in 100 classes."""
    r = np.random.RandomState(0)
    kinds = [folder.parent / f"{k}.png" for k in range(100)]
    for path in kinds:
        Image.fromarray(r.randint(0, 256, (8, 8, 3)).astype(np.uint8)).save(path)
    contents = [path.read_bytes() for path in kinds]
    for k in range(100):
        (folder / f"class{k:03}").mkdir(parents=True)
    for i in range(count):
        (folder / f"class{i % 100:03}" / f"{i:07}.png").write_bytes(contents[i * 7 % 100])


def timed(name: str, pictures: Path, vae: VAE, out: Path, size: int, batch: int) -> None:
    began, worked = time.perf_counter(), time.process_time()
    catalogue = open_catalogue("folder", path=str(pictures), size=size, flip=True)
    done = encode(Job(catalogue, vae, out, size, batch))
    spent, worked = time.perf_counter() - began, time.process_time() - worked
    size_of = sum(p.stat().st_size for p in out.iterdir()) / done.images
    print(
        f"{name}: {done.images:,} pictures of {size} px in {done.seconds:.1f} s, "
        f"{done.images / done.seconds:,.2f} pictures/s; {spent - done.seconds:.1f} s of listing "
        f"and checking before; processor time of all {worked:.1f} s; "
        f"{size_of / 1024:,.1f} KB a picture on disk"
    )
    start = time.perf_counter()
    vae.decode(torch.randn(2, vae.channels, size // vae.factor, size // vae.factor))
    print(f"  decoding: {2 / (time.perf_counter() - start):,.2f} pictures/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--sd", type=int, default=20, help="for SD's architecture; 0: none")
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        root = asked.folder or Path(made)
        if asked.pictures:
            draw(root / "pictures", asked.pictures, SIDE)
            timed(
                "small VAE",
                root / "pictures",
                save_vae(root / "small", **SMALL),
                root / "latents",
                SIDE,
                32,
            )
        if asked.files:
            copies(root / "files", asked.files)
            for what in ("list", "check"):
                call = [sys.executable, "-c", MEASURED, str(root / "files"), "8", what]
                told = subprocess.run(
                    call, env={**os.environ}, capture_output=True, text=True, check=True
                )
                print(told.stdout.strip())
        if asked.sd:
            draw(root / "large", asked.sd, 256)
            vae = save_vae(root / "sd", **STABLE_DIFFUSION)
            timed("Stable Diffusion's VAE", root / "large", vae, root / "large-latents", 256, 2)


if __name__ == "__main__":
    main()
