"""Operations on weights: from K conditions to B samples."""

import pytest
import torch
from torch.testing import assert_close

from cabench.models.operations import Conditioning, DenseDelta, Operation
from cabench.models.sites import SiteDepthwise, SiteLinear

INDEX = torch.tensor([2, 0, 0, 1, 2])
K = 3


class Own(Operation):
    """Of a plugin, which takes rows itself."""

    def __init__(self, delta):
        self.delta = delta

    def weight(self, static):
        return self.delta

    def take(self, index):
        return Own(self.delta[index])


def operations(shape):
    """What may meet at a site, by name."""
    g = torch.Generator().manual_seed(0)
    delta, other, one = (torch.randn(n, *shape, generator=g) for n in (K, K, 1))
    keep = torch.rand(K, generator=g)
    return {
        "one": [DenseDelta(delta)],
        "two": [DenseDelta(delta), DenseDelta(other)],
        "shared": [DenseDelta(one)],
        "shared beside": [DenseDelta(delta), DenseDelta(one)],
        "a factor": [DenseDelta(delta, keep)],
        "a shared weight with a factor": [DenseDelta(one, keep)],
        "a plugin's": [DenseDelta(delta), Own(other)],
        "a plugin's first": [Own(other), DenseDelta(delta, keep), DenseDelta(one)],
    }


def of_sample(operation, condition):
    """The operation of one sample."""
    if isinstance(operation, Own):
        return Own(operation.delta[[condition]])
    rows = operation.delta if len(operation.delta) == 1 else operation.delta[[condition]]
    return DenseDelta(rows, None if operation.keep is None else operation.keep[[condition]])


@pytest.mark.parametrize("case", list(operations((4, 4))))
@pytest.mark.parametrize("layer", [SiteLinear("attn_out", 4, 4), SiteDepthwise(4, (2, 2))])
def test_weights_per_condition_are_those_of_each_sample(layer, case):
    layer.address = "here"
    torch.nn.init.normal_(layer.weight)
    given = operations(layer.weight.shape)[case]
    taken = Conditioning({"here": given}).take(INDEX).operations["here"]
    weights = layer.weight_for(taken).expand(len(INDEX), *layer.weight.shape)
    for weight, condition in zip(weights, INDEX.tolist(), strict=True):
        alone = [of_sample(operation, condition) for operation in given]
        assert_close(weight, layer.weight_for(alone)[0])
