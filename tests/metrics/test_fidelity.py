import numpy as np
import pytest
import scipy.linalg
import torch
import torch_fidelity
from torch.utils.data import Dataset

from cabench.errors import CabenchError
from cabench.metrics.extractors.adapter import register
from cabench.metrics.fidelity import fid, kid


class Pictures(Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return torch.from_numpy(self.images[i])


def test_scores_equal_torch_fidelity_end_to_end(scorer, extractor, digits, real):
    images, labels = real
    ours = scorer.score(images, labels)
    reference = digits.split("report").images[scorer.chosen["report"]]
    assert register() == register() == "efficientnet-lite0-64"
    theirs = torch_fidelity.calculate_metrics(
        input1=Pictures(images),
        input2=Pictures(reference),
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
        batch_size=50,
        fid=True,
        kid=True,
        kid_subsets=1,
        kid_subset_size=256,
        feature_extractor=register(),
        feature_extractor_weights_path=str(extractor.path),
    )
    assert ours["kid"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    assert ours["fid_lite0_112"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-9)


def test_kid_is_the_unbiased_mmd():
    rng = np.random.RandomState(0)
    x, y = rng.randn(120, 4).astype(np.float32), (rng.randn(120, 4) * 1.3).astype(np.float32)

    def kernel(a, b):
        return (float(np.dot(a.astype(np.float64), b.astype(np.float64))) / 4 + 1) ** 3

    within = sum(
        kernel(s[i], s[j]) for s in (x, y) for i in range(120) for j in range(120) if i != j
    )
    across = sum(kernel(a, b) for a in x for b in y)
    assert kid(x, y) == pytest.approx(within / (120 * 119) - 2 * across / 120**2, rel=1e-9)


def test_fid_is_the_frechet_distance():
    rng = np.random.RandomState(0)
    x = rng.randn(500, 6)
    y = rng.randn(400, 6) @ rng.randn(6, 6) + 1
    a, b = np.cov(x.T), np.cov(y.T)
    gap = x.mean(0) - y.mean(0)
    expected = gap @ gap + np.trace(a + b) - 2 * np.trace(scipy.linalg.sqrtm(a @ b)).real
    assert fid(x, y) == pytest.approx(expected, rel=1e-7)


def test_too_few_images_are_refused():
    rng = np.random.RandomState(0)
    with pytest.raises(CabenchError, match="at least 224"):
        fid(rng.randn(223, 112), rng.randn(300, 112))
    fid(rng.randn(224, 112), rng.randn(224, 112))
    with pytest.raises(CabenchError, match="at least 100"):
        kid(rng.randn(99, 8), rng.randn(99, 8))
