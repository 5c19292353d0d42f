"""The condition embedder: its forms and initial values."""

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
