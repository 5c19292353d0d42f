"""The memory of a training step, against torch's own count on real tensors."""

import pytest
import torch
from specs import METHODS, method, model_spec
from torch.distributed._tools.mem_tracker import MemTracker

from cabench.cost.macs import inputs, streams_of
from cabench.cost.memory import training_memory
from cabench.diffusion.passes import Passes, recompute_blocks
from cabench.models.model import build_initialised

NARROW = method("can", generator="bottleneck", rank=64)  # as scale paper narrows it
XL = dict(methods=[method("adaln_zero"), NARROW], preset="XL", shape=[4, 64, 64])  # 512 pixels


def tracked(spec, images, checkpointing):
    """Bytes in use at most in a forward and a backward pass, beside weights and gradients."""
    model = build_initialised(spec, 0)
    if checkpointing:
        recompute_blocks(model.backbone)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    x, t, *rest = inputs(spec, "cpu", images)
    tracker = MemTracker()
    tracker.track_external(model)
    with tracker:
        model(x, t, streams_of(spec, rest)).square().mean().backward()
    peak = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    return peak - 2 * 4 * sum(p.numel() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["can-3", "adaln_zero"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_most_of_what_torch_counts(name, checkpointing):
    spec = model_spec(**METHODS[name])
    passes = Passes(None, checkpointing)
    counted = training_memory(spec, 8, passes=passes).activations
    assert 0.6 * tracked(spec, 8, checkpointing) < counted < 1.0 * tracked(spec, 8, checkpointing)


def test_activations_follow_the_images_of_a_pass():
    spec = model_spec(**METHODS["can-3"])
    whole = training_memory(spec, 64)
    part = training_memory(spec, 64, passes=Passes(16))
    assert whole.activations == pytest.approx(4 * part.activations, rel=0.01)
    model = build_initialised(spec, 0)
    assert whole.parameters == sum(p.numel() for p in model.parameters())
    assert whole.total - whole.activations == 20 * whole.parameters
    half = training_memory(spec, 64, "bfloat16").activations
    assert 0.5 * whole.activations < half < whole.activations
    assert training_memory(spec, 64, passes=Passes(None, True)).activations < whole.activations


@pytest.mark.full
def test_the_largest_model_with_can_fits_80_gb():
    """DiT-XL/2 at 512 pixels with CAN: 32 images a GPU, 8 a pass, recomputed."""
    memory = training_memory(model_spec(**XL), 32, "bfloat16", Passes(8, True))
    assert memory.parameters > 675e6  # DiT, table 1: XL/2
    assert memory.total < 0.5 * 80e9
