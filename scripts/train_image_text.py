"""Train the two heads of the emoji image-text score: cabench/metrics/files/image_text.safetensors.

python scripts/train_image_text.py [--cache .cabench]

Trains two linear maps on the split judge-train of emoji (287 concepts), with a contrastive loss in
which all images and prompts of a concept are positives. Images are shifted and mirrored; prompts
are used whole and in parts. One thread and one seed give the same file every time. Noise and
temperature were chosen by cross-validation over judge-train's concepts (--folds), not on report.
Retrieval on the concepts of report, which are in none of the training data, is stored in the file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

from cabench.data import Split, load_dataset
from cabench.metrics.extractors.lite0 import Lite0
from cabench.metrics.image_text import ENCODER, FEATURES, FILE, Heads, retrieval
from cabench.runtime.threads import one_thread
from cabench.text import encoder, sentences

SHIFTS = [(0, 0), (0, 2), (0, -2), (2, 0), (-2, 0)]  # pixels; each view is mirrored, too
WIDTH = 128  # D of the shared space
STEPS, BATCH, RATE, WARMUP = 600, 256, 1e-3, 50
WEIGHT_DECAY, TEMPERATURE, NOISE = 0.3, 0.15, 2.0
SEED = 0
FOLDS = 4


def views(images: np.ndarray) -> list[np.ndarray]:
    """The images (N, 3, 32, 32), shifted on white and mirrored; the first view is unchanged."""
    shifted_views = []
    for dy, dx in SHIFTS:
        padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=255)
        shifted = padded[:, :, 2 + dy : 34 + dy, 2 + dx : 34 + dx]
        shifted_views += [shifted, shifted[:, :, :, ::-1]]
    return [np.ascontiguousarray(view) for view in shifted_views]


def stacked(features: dict[str, np.ndarray]) -> np.ndarray:
    """The extractor's layers side by side, (N, 1392) float32."""
    return np.concatenate([features[name] for name in FEATURES], axis=1).astype(np.float32)


def wordings(split: Split, style_names: list[str]) -> list[list[str]]:
    """For each image: its prompt, its name, its tags, its name and style."""
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
    """Heads fitted to x (views, N, 1392) and t (wordings, N, 384) of concepts (N,)."""
    g = torch.Generator().manual_seed(seed)
    mean, spread = x[0].mean(0), x[0].std(0)
    scale = np.maximum(spread, 0.1 * np.median(spread))
    text_mean = t.mean((0, 1))
    images, texts = torch.from_numpy((x - mean) / scale), torch.from_numpy(t - text_mean)
    concepts = torch.from_numpy(concept)
    image = (torch.randn(x.shape[2], WIDTH, generator=g) / x.shape[2] ** 0.5).requires_grad_()
    text = (torch.randn(t.shape[2], WIDTH, generator=g) / t.shape[2] ** 0.5 * 10).requires_grad_()
    optimiser = torch.optim.AdamW([image, text], lr=RATE, weight_decay=WEIGHT_DECAY)
    for step in range(steps):
        done = step / steps
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARMUP) * 0.5 * (1 + np.cos(np.pi * done))
        rows = torch.randint(x.shape[1], (BATCH,), generator=g)
        view = torch.randint(len(x), (BATCH,), generator=g)
        wording = torch.randint(len(t), (BATCH,), generator=g)
        noisy = images[view, rows] + NOISE * torch.randn(BATCH, x.shape[2], generator=g)
        a = F.normalize(noisy @ image, dim=1)  # (B, D)
        b = F.normalize(texts[wording, rows] @ text, dim=1)  # (B, D)
        logits = a @ b.T / TEMPERATURE  # (B, B)
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
    return Heads(
        **{k: v.astype(np.float16).astype(np.float64) for k, v in arrays.items()}, about={}
    )


def recall(heads: Heads, x: np.ndarray, t: np.ndarray, concept: np.ndarray) -> tuple[float, float]:
    """R@1 and R@10 of images x (N, 1392) among one prompt per concept, from prompts t (N, 384).

    A concept's prompts are averaged over its styles, so style does not help retrieval.
    """
    distinct, number = np.unique(concept, return_inverse=True)
    prompts = np.stack([t[number == k].mean(0) for k in range(len(distinct))])
    features = {"1280": x[:, :1280], "112": x[:, 1280:]}
    similarity = heads.images(features) @ heads.prompts(prompts).T
    return retrieval(similarity, number, 1), retrieval(similarity, number, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", default=".cabench", type=Path)
    parser.add_argument("--folds", action="store_true", help="cross-validate and write nothing")
    arguments = parser.parse_args()
    cache: Path = arguments.cache
    extractor, text_encoder = Lite0(cache), encoder(ENCODER)
    data = load_dataset("emoji")  # judge-train is the same under every rule
    train, report = data.split("judge-train"), data.split("report")
    concept = np.unique(train.texts["hexcode"], return_inverse=True)[1]
    prompts = wordings(train, data.classes["style"])
    with one_thread():
        x = np.stack([stacked(extractor.features(view)) for view in views(train.images)])
        t = np.stack([sentences(text_encoder, p, cache) for p in zip(*prompts, strict=True)])
        if arguments.folds:
            fold = np.random.RandomState(0).permutation(concept.max() + 1)[concept] % FOLDS
            scores = []
            for k in range(FOLDS):
                train_rows, test_rows = fold != k, fold == k
                heads = fit(x[:, train_rows], t[:, train_rows], concept[train_rows], SEED)
                scores.append(recall(heads, x[0][test_rows], t[0][test_rows], concept[test_rows]))
            print(f"R@1, R@10 of {len(set(concept)) // FOLDS} concepts:", np.mean(scores, 0))
            return
        heads = fit(x, t, concept, SEED)
    unseen = np.unique(report.texts["hexcode"], return_inverse=True)[1]
    real = stacked(extractor.features(report.images))
    r1, r10 = recall(heads, real, sentences(text_encoder, report.texts["text"], cache), unseen)
    metadata = {
        "r1": r1,
        "r10": r10,
        "concepts": int(unseen.max() + 1),
        "pictures": len(report),
        "encoder": text_encoder.fingerprint,
        "judge": extractor.fingerprint,
        "trained_on": f"emoji judge-train: {len(train)} pictures, {concept.max() + 1} concepts",
        "seed": SEED,
    }
    arrays = {k: v.astype(np.float16) for k, v in vars(heads).items() if k != "about"}
    FILE.parent.mkdir(exist_ok=True)
    save_file(arrays, FILE, metadata={"told": json.dumps(metadata, sort_keys=True)})
    print(
        f"{FILE}: {FILE.stat().st_size:,} bytes; R@1 {r1:.3f}, R@10 {r10:.3f} of "
        f"{metadata['concepts']} concepts (chance {1 / metadata['concepts']:.4f}, "
        f"{10 / metadata['concepts']:.4f})"
    )


if __name__ == "__main__":
    main()
