"""KID and accuracy on the features of small networks trained on the data set's own images.

ImageNet features see grain that an eye ignores, and images of 16 px are far from what they were
trained on. These networks classify the images of judge-train, which no generator sees, with faint
noise and shifts added in training; so grain of a few grey levels moves their features little, while
a wrong shape moves them. KID is the mean over networks of different seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cabench.data.dataset import Dataset
from cabench.errors import CabenchError
from cabench.metrics.extractors import Features
from cabench.metrics.fidelity import KID_MIN, kid
from cabench.metrics.reference import matched
from cabench.metrics.scorer import FLOOR, REFERENCE, TRAINED, SampleScorer
from cabench.registry import METRICS
from cabench.runtime.sealed import cached_arrays
from cabench.runtime.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor, nn

SEEDS = (0, 1, 2)  # of the networks
NETWORK = f"{len(SEEDS)} trained on judge-train"
EPOCHS, BATCH, RATE = 4, 64, 3e-3
NOISE = 12 / 127.5  # largest standard deviation of the noise, in units of [-1, 1]
WIDTHS = (32, 64, 128)  # channels of the stages; the last one's mean is the feature


def network(channels: int, classes: int) -> nn.Sequential:
    """x (B, C, H, W) in [-1, 1] -> logits (B, classes); the feature (B, 128) is before the last."""
    from torch import nn

    layers: list[nn.Module] = []
    for i, width in enumerate(WIDTHS):
        layers += [nn.Conv2d(channels, width, 3, stride=1 if i == 0 else 2, padding=1)]
        layers += [nn.GroupNorm(8, width), nn.SiLU()]
        channels = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    return nn.Sequential(*layers)


def scaled(images: np.ndarray) -> Tensor:
    """Images (N, C, H, W) uint8 -> float32 in [-1, 1]."""
    import torch

    return torch.from_numpy(images).float().div_(127.5).sub_(1)


def fit(images: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """A trained network as arrays, with the spread of each feature over the training images."""
    import torch
    import torch.nn.functional as F

    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x, y = scaled(images), torch.from_numpy(np.unique(labels, return_inverse=True)[1])
        model = network(x.shape[1], int(y.max()) + 1)
        steps = EPOCHS * max(1, len(x) // BATCH)
        optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
        order = torch.cat([torch.randperm(len(x)) for _ in range(EPOCHS + 1)])
        for step in range(steps):
            rows = order[step * BATCH : (step + 1) * BATCH]
            batch = augmented(x[rows])
            F.cross_entropy(model(batch), y[rows], label_smoothing=0.1).backward()
            optimiser.step()
            optimiser.zero_grad()
            schedule.step()
        spread = embed(model, images).std(axis=0)
    arrays = {name: p.detach().numpy() for name, p in model.named_parameters()}
    return arrays | {"spread": np.maximum(spread, 0.1 * np.median(spread))}


def augmented(x: Tensor) -> Tensor:
    """Images with noise of a random strength up to NOISE, shifted by up to one pixel."""
    import torch
    import torch.nn.functional as F

    noise = torch.rand(len(x), 1, 1, 1) * NOISE
    x = x + torch.randn_like(x) * noise
    dy, dx = (int(shift) for shift in torch.randint(0, 3, (2,)))
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return padded[:, :, dy : dy + x.shape[2], dx : dx + x.shape[3]]


def embed(model: nn.Sequential, images: np.ndarray, batch: int = 500) -> np.ndarray:
    """Features (N, 128) float32 of images."""
    import torch

    with torch.no_grad():
        parts = [model[:-1](scaled(images[i : i + batch])) for i in range(0, len(images), batch)]
    return torch.cat(parts).numpy()


@METRICS.register("kid_trained")
class KidTrained:
    """KID on features of 3 networks trained on judge-train, their mean; lower is better.

    Unbiased, so it may fall below 0. The networks are trained with noise of up to 12 grey levels
    and shifts of a pixel, which move their features little. At least 100 samples.
    """

    version = 1
    needs = "samples"
    libraries = ("torch_fidelity",)
    network = NETWORK
    conditions = ()
    higher_is_better = False
    label = "KID-trained@{n}"
    twin = "kid"
    min_samples = KID_MIN

    @staticmethod
    def check(dataset: Dataset) -> None:
        require_labels("kid_trained", dataset)

    @staticmethod
    def files(scorer: SampleScorer) -> dict[Path, Callable[[], object]]:
        return networks(scorer)

    @classmethod
    def compute(
        cls,
        generated: Features,
        reference: Features,
        images: np.ndarray,
        labels: np.ndarray,
        scorer: SampleScorer,
    ) -> float:
        return cls.against_reference(images, scorer)

    @classmethod
    def floor(cls, scorer: SampleScorer) -> float:
        """Of real images of generator-train, as judge-train, the usual floor, trains networks."""
        split = scorer.dataset.split(TRAINED)
        chosen = matched(split.streams[scorer.stream], scorer.labels, f"split '{TRAINED}'")
        return cls.against_reference(split.images[chosen], scorer)

    @classmethod
    def against_reference(cls, images: np.ndarray, scorer: SampleScorer) -> float:
        """Of images (n, C, H, W) uint8 and the real images that samples are compared with."""
        real = scorer.dataset.split(scorer.reference).images[scorer.chosen[scorer.reference]]
        return cls.between(images, real, scorer)

    @staticmethod
    def between(images: np.ndarray, real: np.ndarray, scorer: SampleScorer) -> float:
        """Mean KID of two sets of images over the networks."""
        values = []
        for seed in SEEDS:
            model, spread = trained(scorer, seed)
            with one_thread():
                generated, reference = (embed(model, each) / spread for each in (images, real))
            values.append(kid(generated, reference))
        return float(np.mean(values))


@METRICS.register("accuracy_trained")
class AccuracyTrained:
    """Share of samples that the networks of kid_trained assign to their label; in [0, 1].

    Higher is better. The mean over 3 networks.
    """

    version = 1
    needs = "samples"
    network = NETWORK
    higher_is_better = True
    label = "accuracy, trained networks"
    twin = "condition_accuracy"
    min_samples = 1

    @staticmethod
    def check(dataset: Dataset) -> None:
        require_labels("accuracy_trained", dataset)

    @staticmethod
    def files(scorer: SampleScorer) -> dict[Path, Callable[[], object]]:
        return networks(scorer)

    @classmethod
    def compute(
        cls,
        generated: Features,
        reference: Features,
        images: np.ndarray,
        labels: np.ndarray,
        scorer: SampleScorer,
    ) -> float:
        return cls.of(images, labels, scorer)

    @classmethod
    def floor(cls, scorer: SampleScorer) -> float:
        """Accuracy on the report split: the networks are trained on judge-train."""
        report = scorer.dataset.split(REFERENCE)
        return cls.of(report.images, report.streams["label"], scorer)

    @staticmethod
    def of(images: np.ndarray, labels: np.ndarray, scorer: SampleScorer) -> float:
        """Mean over networks of the share of images (n, C, H, W) uint8 with their label first."""
        classes = np.unique(scorer.dataset.split(FLOOR).streams["label"])
        shares = []
        for seed in SEEDS:
            model, _ = trained(scorer, seed)
            with one_thread():
                features = embed(model, images)
            head = {name: p.detach().numpy() for name, p in model[-1].named_parameters()}
            logits = features @ head["weight"].T + head["bias"]  # (n, classes)
            shares.append(np.mean(classes[logits.argmax(axis=1)] == labels))
        return float(np.mean(shares))


def require_labels(metric: str, dataset: Dataset) -> None:
    """Refuses a data set without labels to train networks on."""
    if "label" not in dataset.split(FLOOR).streams:
        raise CabenchError(f"{metric}: data set '{dataset.name}' has no labels to train on")


def networks(scorer: SampleScorer) -> dict[Path, Callable[[], object]]:
    """The files of the trained networks, and what writes them."""
    return {network_path(scorer, seed): partial(trained, scorer, seed) for seed in SEEDS}


def network_path(scorer: SampleScorer, seed: int) -> Path:
    """The cached file of a seed's network."""
    import torch

    parts = (scorer.dataset.fingerprint, KidTrained.version, seed, torch.__version__)
    key = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]
    return scorer.cache / "judge" / f"trained-{key}.npz"


def trained(scorer: SampleScorer, seed: int) -> tuple[nn.Sequential, np.ndarray]:
    """The network of a seed and the spread of its features, from the cache."""
    import torch

    split = scorer.dataset.split(FLOOR)
    arrays = cached_arrays(
        network_path(scorer, seed),
        lambda: fit(np.asarray(split.images), split.streams["label"], seed),
    )
    spread = arrays.pop("spread")
    model = network(scorer.dataset.shape[0], len(np.unique(split.streams["label"])))
    model.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})
    return model, spread
