"""Train the two heads of the emoji image-text score -> cabench/metrics/files/image_text.safetensors

python scripts/train_image_text.py [--cache .cabench]

From the judge-train split of emoji alone (287 concepts): each picture as it is, mirrored and
shifted; each prompt whole and in parts. Two linear maps, a contrastive loss in which all pictures
and prompts of a concept belong together. One thread, one seed: the same file each time. Noise and
temperature were chosen by cross-validation over judge-train's concepts (--folds), not on report.
Then the retrieval on the concepts of report, which no part of this has seen, is measured, stored.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

from cabench.data import load_dataset
from cabench.metrics.extractors.lite0 import Lite0
from cabench.metrics.image_text import ENCODER, FEATURES, FILE, Heads, retrieval
from cabench.runtime.threads import one_thread
from cabench.text import encoder, sentences

SHIFTS = [(0, 0), (0, 2), (0, -2), (2, 0), (-2, 0)]  # pixels, each also mirrored
WIDTH = 128  # D
STEPS, BATCH, RATE, WARM = 600, 256, 1e-3, 50
PENALTY, TEMPERATURE, NOISE = 0.3, 0.15, 2.0
SEED = 0
FOLDS = 4


def views(images: np.ndarray) -> list[np.ndarray]:
    """The pictures shifted (white comes in) and mirrored; the first as they are."""
    made = []
    for dy, dx in SHIFTS:
        padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=255)
        shifted = padded[:, :, 2 + dy : 34 + dy, 2 + dx : 34 + dx]
        made += [shifted, shifted[:, :, :, ::-1]]
    return [np.ascontiguousarray(view) for view in made]


def stacked(features: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([features[name] for name in FEATURES], axis=1).astype(np.float32)


def wordings(split, style_names: list[str]) -> list[list[str]]:
    """For each picture its prompt, its name alone, its tags alone, name and style."""
    rows = zip(
        split.texts["text"],
        split.texts["caption"],
        split.texts["tags"],
        split.streams["style"],
        strict=True,
    )
    return [
        [text, name, ", ".join(tags) or name, f"{name}; {style_names[style]} style"]
        for text, name, tags, style in rows
    ]


def fit(x: np.ndarray, t: np.ndarray, concept: np.ndarray, seed: int, steps: int = STEPS) -> Heads:
    """Heads from x (views, N, 1392), t (wordings, N, 384), concept (N,)."""
    g = torch.Generator().manual_seed(seed)
    mean, spread = x[0].mean(0), x[0].std(0)
    scale = np.maximum(spread, 0.1 * np.median(spread))
    text_mean = t.mean((0, 1))
    pictures, texts = torch.from_numpy((x - mean) / scale), torch.from_numpy(t - text_mean)
    concepts = torch.from_numpy(concept)
    image = (torch.randn(x.shape[2], WIDTH, generator=g) / x.shape[2] ** 0.5).requires_grad_()
    text = (torch.randn(t.shape[2], WIDTH, generator=g) / t.shape[2] ** 0.5 * 10).requires_grad_()
    optimiser = torch.optim.AdamW([image, text], lr=RATE, weight_decay=PENALTY)
    for step in range(steps):
        part = step / steps
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM) * 0.5 * (1 + np.cos(np.pi * part))
        rows = torch.randint(x.shape[1], (BATCH,), generator=g)
        view = torch.randint(len(x), (BATCH,), generator=g)
        wording = torch.randint(len(t), (BATCH,), generator=g)
        shown = pictures[view, rows] + NOISE * torch.randn(BATCH, x.shape[2], generator=g)
        a = F.normalize(shown @ image, dim=1)
        b = F.normalize(texts[wording, rows] @ text, dim=1)
        logits = a @ b.T / TEMPERATURE
        same = (concepts[rows][:, None] == concepts[rows][None]).float()
        target = same / same.sum(1, keepdim=True)
        loss = F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    arrays = dict(
        mean=mean,
        scale=scale,
        image=image.detach().numpy(),
        text_mean=text_mean,
        text=text.detach().numpy(),
    )
    return Heads(**{k: v.astype(np.float16).astype(np.float64) for k, v in arrays.items()}, told={})


def found(heads: Heads, x: np.ndarray, t: np.ndarray, concept: np.ndarray) -> tuple[float, float]:
    """R@1 and R@10: each picture (N, 1392) among one prompt a concept.

    A concept's prompts in all its styles are averaged, so that style alone finds nothing.
    """
    different, number = np.unique(concept, return_inverse=True)
    prompts = np.stack([t[number == k].mean(0) for k in range(len(different))])
    parts = {"1280": x[:, :1280], "112": x[:, 1280:]}
    similar = heads.pictures(parts) @ heads.prompts(prompts).T
    return retrieval(similar, number, 1), retrieval(similar, number, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", default=".cabench", type=Path)
    parser.add_argument("--folds", action="store_true", help="cross-validate, write nothing")
    asked = parser.parse_args()
    extractor, made = Lite0(asked.cache), encoder(ENCODER)
    data = load_dataset("emoji")  # judge-train is the same under every rule
    train, report = data.split("judge-train"), data.split("report")
    concept = np.unique(train.texts["hexcode"], return_inverse=True)[1]
    said = wordings(train, data.classes["style"])
    with one_thread():
        x = np.stack([stacked(extractor.features(view)) for view in views(train.images)])
        t = np.stack([sentences(made, column, asked.cache) for column in zip(*said, strict=True)])
        if asked.folds:
            fold = np.random.RandomState(0).permutation(concept.max() + 1)[concept] % FOLDS
            scores = []
            for k in range(FOLDS):
                kept, left = fold != k, fold == k
                heads = fit(x[:, kept], t[:, kept], concept[kept], SEED)
                scores.append(found(heads, x[0][left], t[0][left], concept[left]))
            print(f"R@1, R@10 of {len(set(concept)) // FOLDS} concepts:", np.mean(scores, 0))
            return
        heads = fit(x, t, concept, SEED)
    unseen = np.unique(report.texts["hexcode"], return_inverse=True)[1]
    real = stacked(extractor.features(report.images))
    r1, r10 = found(heads, real, sentences(made, report.texts["text"], asked.cache), unseen)
    told = {
        "r1": r1,
        "r10": r10,
        "concepts": int(unseen.max() + 1),
        "pictures": len(report),
        "encoder": made.fingerprint,
        "judge": extractor.fingerprint,
        "trained_on": f"emoji judge-train: {len(train)} pictures, {concept.max() + 1} concepts",
        "seed": SEED,
    }
    arrays = {k: v.astype(np.float16) for k, v in vars(heads).items() if k != "told"}
    FILE.parent.mkdir(exist_ok=True)
    save_file(arrays, FILE, metadata={"told": json.dumps(told, sort_keys=True)})
    print(
        f"{FILE}: {FILE.stat().st_size:,} bytes; R@1 {r1:.3f}, R@10 {r10:.3f} of "
        f"{told['concepts']} concepts (chance {1 / told['concepts']:.4f}, "
        f"{10 / told['concepts']:.4f})"
    )


if __name__ == "__main__":
    main()
