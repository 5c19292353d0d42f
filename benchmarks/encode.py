"""Time and memory to list, check and encode many images.

    python benchmarks/encode.py [--images 2000] [--files 100000] [--sd 4] [--folder DIR]

In a temporary directory (or DIR, which is not deleted): encodes PNG files of 64 px from
Fashion-MNIST and the emoji with a small VAE of random weights; lists and checks many small files,
each in its own process for its peak memory; encodes a few images of 256 px with Stable Diffusion's
architecture (random weights take the same time). One thread.
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

def peak():  # kB of this process alone; getrusage's is at least that of the parent process
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

start = peak()
began = time.perf_counter()
listing = open_catalogue("folder", path=sys.argv[1], size=int(sys.argv[2]))
listed = time.perf_counter()
if sys.argv[3] == "check":
    assert not check(listing).lines
ended = time.perf_counter()
count = sum(map(len, listing.splits.values()))
text = f"listed in {listed - began:.1f} s"
if sys.argv[3] == "check":
    text += f", checked in {ended - listed:.1f} s ({count / (ended - listed):,.0f}/s)"
text += f", processor time {time.process_time():.1f} s"
memory = f"peak memory {peak() / 1024:,.0f} MB, {start / 1024:,.0f} MB of it at the start"
print(f"{count:,} files {text}; {memory}")
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
    """Write `count` PNG files in two classes, from the packaged images."""
    for k, source in enumerate(("fashion16", "emoji")):
        images = load_dataset(source).split("generator-train").images
        (folder / source).mkdir(parents=True, exist_ok=True)
        for i in range(count // 2):
            pixels = np.broadcast_to(images[i % len(images)], (3, *images.shape[2:]))
            image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
            image.resize((side, side)).save(folder / source / f"{k}{i:06}.png")


def copies(folder: Path, count: int) -> None:
    """Write `count` files of 8x8 pixels in 100 classes."""
    r = np.random.RandomState(0)
    kinds = [folder.parent / f"{k}.png" for k in range(100)]
    for path in kinds:
        Image.fromarray(r.randint(0, 256, (8, 8, 3)).astype(np.uint8)).save(path)
    contents = [path.read_bytes() for path in kinds]
    for k in range(100):
        (folder / f"class{k:03}").mkdir(parents=True)
    for i in range(count):
        (folder / f"class{i % 100:03}" / f"{i:07}.png").write_bytes(contents[i * 7 % 100])


def timed(name: str, images: Path, vae: VAE, out: Path, size: int, batch: int) -> None:
    began, worked = time.perf_counter(), time.process_time()
    catalogue = open_catalogue("folder", path=str(images), size=size, flip=True)
    done = encode(Job(catalogue, vae, out, size, batch))
    spent, worked = time.perf_counter() - began, time.process_time() - worked
    size_of = sum(p.stat().st_size for p in out.iterdir()) / done.images
    print(
        f"{name}: {done.images:,} images of {size} px in {done.seconds:.1f} s, "
        f"{done.images / done.seconds:,.2f} images/s; {spent - done.seconds:.1f} s of listing "
        f"and checking before; processor time {worked:.1f} s in all; "
        f"{size_of / 1024:,.1f} KB per image on disk"
    )
    start = time.perf_counter()
    vae.decode(torch.randn(2, vae.channels, size // vae.factor, size // vae.factor))
    print(f"  decoding: {2 / (time.perf_counter() - start):,.2f} images/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--sd", type=int, default=20, help="images for SD's architecture; 0: none")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.folder or Path(temporary)
        if arguments.images:
            draw(root / "images", arguments.images, SIDE)
            timed(
                "small VAE",
                root / "images",
                save_vae(root / "small", **SMALL),
                root / "latents",
                SIDE,
                32,
            )
        if arguments.files:
            copies(root / "files", arguments.files)
            for what in ("list", "check"):
                call = [sys.executable, "-c", MEASURED, str(root / "files"), "8", what]
                done = subprocess.run(
                    call, env={**os.environ}, capture_output=True, text=True, check=True
                )
                print(done.stdout.strip())
        if arguments.sd:
            draw(root / "large", arguments.sd, 256)
            vae = save_vae(root / "sd", **STABLE_DIFFUSION)
            timed("Stable Diffusion's VAE", root / "large", vae, root / "large-latents", 256, 2)


if __name__ == "__main__":
    main()
