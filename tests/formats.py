"""Small data sets in their real formats, and a small VAE in diffusers' format."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

COLOURS = {"red": (220, 30, 30), "green": (30, 170, 60), "blue": (40, 60, 220)}
SHAPES = ("circle", "square")


def drawing(i: int, size: int = 24) -> tuple[Image.Image, str]:
    """Image i, a coloured shape on grey, and its caption."""
    r = np.random.RandomState(i)
    colour, shape = list(COLOURS)[i % 3], SHAPES[i // 3 % 2]
    image = Image.new("RGB", (size + 6 * (i % 2), size), (200, 200, 200))
    x, y, side = r.randint(1, size // 3), r.randint(1, size // 3), r.randint(size // 3, size // 2)
    draw = ImageDraw.Draw(image)
    {"circle": draw.ellipse, "square": draw.rectangle}[shape](
        (x, y, x + side, y + side), fill=COLOURS[colour]
    )
    return image, f"a {colour} {shape}"


def make_vae(folder: Path, **config) -> Path:
    """An AutoencoderKL of two levels (downsampling factor 2) with random weights."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=16,
        **{"latent_channels": 4, "scaling_factor": 0.18215} | config,
    )
    vae.save_pretrained(folder)
    return folder


def make_coco(root: Path, train: int = 160, val: int = 110) -> Path:
    """captions_{train,val}2014.json with two captions per image, and the folders of images."""
    (root / "annotations").mkdir(parents=True)
    number = 0
    for part, count in (("train2014", train), ("val2014", val)):
        (root / part).mkdir()
        images, notes = [], []
        for _ in range(count):
            number += 1
            image, text = drawing(number)
            name = f"COCO_{part}_{number:012}.jpg"
            image.save(root / part / name, quality=95)
            images.append(
                {
                    "id": number,
                    "file_name": name,
                    "height": image.height,
                    "width": image.width,
                    "license": 1,
                }
            )
            for k, words in enumerate((text.capitalize() + ".", f"This is {text}\n")):
                notes.append({"id": 10 * number + k, "image_id": number, "caption": words})
        content = {"info": {"year": 2014}, "licenses": [], "images": images, "annotations": notes}
        (root / "annotations" / f"captions_{part}.json").write_text(json.dumps(content))
    return root


def make_folders(root: Path, train: int = 60, test: int = 30, last: str = "val") -> Path:
    """train/CLASS/*.png and val/CLASS/*.png, with the six captions as classes."""
    for part, count in (("train", train), (last, test)):
        for i in range(6 * count):
            image, text = drawing(i if part == "train" else 10_000 + i)
            folder = root / part / text[2:].replace(" ", "-")
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{i:05}.png")
    return root


def make_cifar10(root: Path, a_batch: int = 20) -> Path:
    """cifar-10-batches-py as in the Python version: five training batches and a test batch."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    r = np.random.RandomState(0)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        labels = [int(k % 10) for k in range(a_batch)]
        batch = {
            "batch_label": name,
            "labels": labels,
            "data": r.randint(0, 256, (a_batch, 3072)).astype(np.uint8),
            "filenames": [f"{k}.png" for k in range(a_batch)],
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {"label_names": [f"kind {k}" for k in range(10)], "num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return root


def make_imagenet64(root: Path, a_batch: int = 12, batches: int = 10, val: int = 8) -> Path:
    """train_data_batch_1..10.npz and val_data.npz, with two of the 1000 labels."""
    root.mkdir(parents=True)
    r = np.random.RandomState(0)
    mean = np.zeros(12288)
    for i in range(1, batches + 1):
        data = r.randint(0, 256, (a_batch, 12288)).astype(np.uint8)
        labels = np.where(np.arange(a_batch) % 2, 1, 1000)
        np.savez(root / f"train_data_batch_{i}.npz", data=data, labels=labels, mean=mean)
    data = r.randint(0, 256, (val, 12288)).astype(np.uint8)
    labels = np.where(np.arange(val) % 2, 1, 1000)
    np.savez(root / "val_data.npz", data=data, labels=labels)
    return root
