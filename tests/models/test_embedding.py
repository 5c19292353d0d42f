"""The condition embedder: its forms and initial values."""

import numpy as np
import pytest
import torch

from cabench.models.embedding import GAIN, GAINS, ConditionEmbedder, embedder_options
from cabench.models.init import initialise
from cabench.registry import BACKBONES


def embedded(width, **options):
    model = ConditionEmbedder(width, {"label": 1000}, **options)
    initialise(model, seed=0)
    return model(torch.linspace(0, 999, 50), {"label": torch.arange(50)})


def rms(e):
    return e.square().mean().sqrt().item()


def test_gains_start_at_the_size_of_dit_s2s_own_embedding():
    raw = embedded(384, normalise=False)
    assert rms(raw["timestep"]) == pytest.approx(GAINS["timestep"], rel=0.1)
    assert rms(raw["label"]) == pytest.approx(GAIN, rel=0.05)
    gain = embedded(384, gains={"timestep": GAINS["timestep"], "label": GAIN})
    assert rms(gain["timestep"]) == pytest.approx(GAINS["timestep"], rel=1e-3)
    assert rms(gain["label"]) == pytest.approx(GAIN, rel=1e-3)
    assert rms(embedded(384)["label"]) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("width", [32, 64, 80])
def test_below_the_published_width_embeddings_have_the_published_norm(width):
    """So a linear map of the raw embedding starts with outputs of the published size."""
    options = embedder_options("raw", width, ["label"], BACKBONES.get("dit"))
    small, published = embedded(width, **options), embedded(384, normalise=False)
    for stream in ("timestep", "label"):
        norms = [e[stream].norm(dim=1).mean().item() for e in (small, published)]
        expected = 1 if stream == "label" else (width / 384) ** 0.5
        assert norms[0] / norms[1] == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("form", ["normalised", "gain", "raw"])
def test_published_widths_keep_the_published_spread(form):
    assert "spread" not in embedder_options(form, 384, ["label"], BACKBONES.get("dit"))


def test_numbers_are_embedded_by_cosines_and_sines():
    """Against the formula in NumPy; a dropped condition has one learned embedding."""
    model = ConditionEmbedder(16, {}, normalise=False, vectors={"pose": 2})
    initialise(model, seed=0)
    v = torch.tensor([[0.3, -1.2], [2.0, 0.0], [0.3, -1.2]])
    part = {k: p.detach().double().numpy() for k, p in model.vectors["pose"].named_parameters()}
    angles = (v.double().numpy()[:, :, None] * [0.5, 1, 2, 4]).reshape(3, 8)
    x = np.concatenate([np.cos(angles), np.sin(angles)], 1)
    h = x @ part["expand.weight"].T + part["expand.bias"]
    h = h / (1 + np.exp(-h))
    expected = h @ part["project.weight"].T + part["project.bias"]
    drop = torch.tensor([False, False, True])
    e = model(torch.zeros(3), {"pose": v}, drop)["pose"].detach().numpy()
    assert np.allclose(e[:2], expected[:2], atol=1e-5)
    assert np.allclose(e[2], part["null"], atol=1e-6) and not np.allclose(e[2], e[0])


def test_close_numbers_have_close_embeddings_and_distant_ones_do_not():
    """After normalisation too: a map without cosines would embed 0.1 and 0.2 alike."""
    model = ConditionEmbedder(64, {}, vectors={"age": 1})
    initialise(model, seed=0)
    v = torch.tensor([[0.0], [0.1], [1.0], [3.0]])
    e = model(torch.zeros(4), {"age": v})["age"].detach()
    similarity = torch.nn.functional.cosine_similarity(e[:1], e)
    assert similarity[1] > 0.95 > 0.7 > similarity[2:].max()
