"""Weights that torch-fidelity opens run no code, and DINOv2's code is that of one commit."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from cabench.errors import CabenchError
from cabench.metrics.extractors import dinov2_network
from cabench.metrics.extractors.torch_fidelity import find_weights
from cabench.registry import EXTRACTORS


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def hubconf(folder: Path, text: str) -> None:
    """A repository that torch hub has downloaded."""
    folder.mkdir(parents=True)
    (folder / "hubconf.py").write_text(text)


def pinned(home: Path) -> Path:
    name = dinov2_network.REPOSITORY.replace("/", "_")
    return home / "hub" / f"{name}_{dinov2_network.COMMIT}"


MEAN_COLOUR = """
import torch

class Mean(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(3, 384))

    def forward(self, x):
        return x.mean((2, 3)) @ self.w

def dinov2_vits14(pretrained):
    assert not pretrained
    return Mean()
"""


@pytest.mark.parametrize("name", ["inception-v3-compat", "clip-vit-b-32", "dinov2-vit-s-14"])
@pytest.mark.parametrize("as_zip", [True, False])
def test_a_weights_file_runs_no_code(name, as_zip, tmp_path, monkeypatch):
    path = tmp_path / f"{name}.pth"
    evil = {"w": torch.zeros(1), "x": Evil(tmp_path / "ran")}
    if as_zip:
        torch.save(evil, path)
    else:
        path.write_bytes(pickle.dumps(evil))
    hubconf(pinned(tmp_path), MEAN_COLOUR)
    monkeypatch.setenv("CABENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CabenchError, match=f"{path} doesn't open"):
        EXTRACTORS.get(name)(tmp_path).features(np.zeros((1, 3, 8, 8), np.uint8))
    assert not (tmp_path / "ran").exists()
    torch.load(path, weights_only=False) if as_zip else pickle.loads(path.read_bytes())
    assert (tmp_path / "ran").exists()  # the file would have


def test_a_torchscript_that_is_not_the_published_clip_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "clip-vit-b-32.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), path)
    monkeypatch.setenv("CABENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(CabenchError, match="expected the published file, sha256 40d3657159"):
        EXTRACTORS.get("clip-vit-b-32")(tmp_path).features(np.zeros((1, 3, 8, 8), np.uint8))


def test_dinov2_is_built_by_the_pinned_commit_alone(tmp_path, monkeypatch):
    home = tmp_path / "hub"
    ran = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    hubconf(home / "facebookresearch_dinov2_main", ran + MEAN_COLOUR)
    monkeypatch.setenv("CABENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    weights = torch.arange(3 * 384.0).reshape(3, 384)
    torch.save({"w": weights}, tmp_path / "dinov2-vit-s-14.pth")
    images = np.random.RandomState(0).randint(0, 256, (2, 3, 224, 224), np.uint8)
    with pytest.raises(CabenchError, match=f"{dinov2_network.COMMIT}, download failed"):
        EXTRACTORS.get("dinov2-vit-s-14")(tmp_path).features(images)
    hubconf(pinned(tmp_path), MEAN_COLOUR)
    features = EXTRACTORS.get("dinov2-vit-s-14")(tmp_path).features(images)["dinov2"]
    assert not (tmp_path / "ran").exists()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((images.mean((2, 3)) / 255 - mean) / std) @ weights.numpy()
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-2)


def test_a_download_with_another_sha256_is_refused(tmp_path, monkeypatch):
    source = tmp_path / "inception.pth"
    source.write_bytes(b"x")
    url = "cabench.metrics.extractors.torch_fidelity.INCEPTION_URL"
    monkeypatch.setattr(url, source.as_uri())
    monkeypatch.delenv("CABENCH_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CabenchError, match="invalid hash value"):
        find_weights("inception-v3-compat")
    assert not (tmp_path / "hub" / "checkpoints" / "inception.pth").exists()


def offline(*_, **__):
    raise OSError("no network")
