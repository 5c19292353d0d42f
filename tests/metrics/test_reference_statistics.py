"""FID to published statistics, against a formula of its own; files that are none are refused."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from cabench.errors import CabenchError
from cabench.metrics.fidelity import fid
from cabench.metrics.reference_statistics import read_statistics

D = 12


def features(seed, n=60):
    rng = np.random.RandomState(seed)
    return (rng.randn(n, D) @ rng.randn(D, D) + rng.randn(D)).astype(np.float32)


def moments(x):
    x = x.astype(np.float64)
    return x.mean(0), np.cov(x, rowvar=False)


def test_fid_by_its_formula(tmp_path):
    x, y = features(0), features(1, 90)
    mean, covariance = moments(y)
    statistics = dict(mu=mean, sigma=covariance, mu_s=np.zeros(3), sigma_s=np.zeros((3, 3)))
    np.savez(tmp_path / "r.npz", **statistics)
    reference = read_statistics(tmp_path / "r.npz", D)
    a, s = moments(x)
    root = sqrtm(s @ covariance).real
    expected = ((a - mean) ** 2).sum() + np.trace(s + covariance - 2 * root)
    assert reference.fid(x) == pytest.approx(expected, rel=1e-6)
    assert reference.fid(x) == pytest.approx(fid(x, y), rel=1e-9)  # that of trials
    assert reference.has_sfid
    with pytest.raises(CabenchError, match="at least 24 images for 12 dimensions, got 23"):
        reference.fid(x[:23])


def test_a_file_that_is_no_reference_is_one_line(tmp_path):
    mean, covariance = moments(features(0))
    holes, skew, negative = covariance.copy(), covariance.copy(), -covariance
    holes[3, 4], skew[3, 4] = np.nan, 99
    for arrays, text in (
        (dict(mu=mean), "expected the arrays mu, sigma, got mu; without sigma"),
        (dict(mu=mean[:5], sigma=covariance), r"mu: expected floats \(12,\), got float64 \(5,\)"),
        (dict(mu=mean, sigma=covariance[:5]), r"sigma: expected floats \(12, 12\)"),
        (dict(mu=mean.astype(int), sigma=covariance), "mu: expected floats"),
        (dict(mu=mean.astype(object), sigma=covariance), "pickled objects"),
        (dict(mu=mean, sigma=holes), "sigma: expected finite numbers"),
        (dict(mu=mean, sigma=skew), "sigma: expected a covariance"),
        (dict(mu=mean, sigma=negative), "sigma: expected a covariance"),
    ):
        np.savez(tmp_path / "r.npz", **arrays)
        with pytest.raises(CabenchError, match=text) as error:
            read_statistics(tmp_path / "r.npz", D)
        assert str(error.value).startswith(f"{tmp_path}/r.npz: ")
    np.savez(tmp_path / "r.npz", mu=mean, sigma=covariance)
    content = (tmp_path / "r.npz").read_bytes()
    np.save(tmp_path / "a.npy", mean)
    torch.save({"mu": torch.zeros(2)}, tmp_path / "t.npz")  # a zip of other files
    for name, damaged, text in (
        ("a.npy", None, "expected an .npz file"),
        ("t.npz", None, "expected the arrays mu, sigma"),
        ("cut.npz", content[:-100], "expected an .npz file"),
        (
            "flip.npz",
            content[:200] + bytes([content[200] ^ 1]) + content[201:],
            "doesn't read: Bad CRC",
        ),
        ("none.npz", None, "no such file"),
    ):
        if damaged is not None:
            (tmp_path / name).write_bytes(damaged)
        with pytest.raises(CabenchError, match=text):
            read_statistics(tmp_path / name, D)


@pytest.mark.full
def test_fid_of_inceptions_features_by_its_formula(tmp_path, monkeypatch):
    """The true network with random weights: images to FID, by both formulas."""
    from unittest import mock

    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    from cabench.registry import EXTRACTORS

    path = tmp_path / "inception-v3-compat.pth"
    torch.save({}, path)
    torch.manual_seed(0)
    with mock.patch.object(FeatureExtractorInceptionV3, "load_state_dict"):
        network = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=path)
    torch.save(network.state_dict(), path)
    monkeypatch.setenv("CABENCH_WEIGHTS", str(tmp_path))
    images = np.random.RandomState(0).randint(0, 256, (24, 3, 16, 16), np.uint8)
    images[:, :, :8] //= 3
    x = EXTRACTORS.get("inception-v3-compat")(tmp_path).features(images)["2048"]
    with torch.no_grad():
        direct = network(torch.from_numpy(images[:2]))[0].numpy()
    np.testing.assert_allclose(x[:2], direct, rtol=1e-3, atol=1e-6)
    x = x[:, :] / x.std()
    rng = np.random.RandomState(1)
    mean, spread = rng.rand(2048) * 2, rng.rand(2048) + 0.5  # a diagonal covariance
    np.savez(tmp_path / "r.npz", mu=mean, sigma=np.diag(spread))
    a = x.mean(0, dtype=np.float64)
    # of 24 images, tr sqrt(S C) is that of a 24 x 24 matrix
    centred = (x - a) / np.sqrt(len(x) - 1)
    roots = np.sqrt(np.abs(np.linalg.eigvalsh(centred @ np.diag(spread) @ centred.T))).sum()
    expected = ((a - mean) ** 2).sum() + (centred**2).sum() + spread.sum() - 2 * roots
    got = read_statistics(tmp_path / "r.npz").fid(x, least=2)
    assert got == pytest.approx(expected, rel=1e-3)
