"""Methods that do nothing are named before they train; every built-in method passes."""

import re

import pytest
import torch
from specs import METHODS as EVERY
from specs import method, model_spec
from torch import nn

from cabench.models import contract
from cabench.models.conditioning.base import Method, VectorOptions
from cabench.models.init import parameter
from cabench.models.operations import Conditioning, DenseDelta, ExtraTokens
from cabench.registry import METHODS


class Kernels(Method):
    """Generates depthwise kernels; its faults are switched on by subclasses."""

    Options = VectorOptions

    @classmethod
    def sites(cls, options, offered):
        return ("depthwise",)

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.layers = [site for site in layout.sites if site.kind == "depthwise"]
        self.maps = nn.ModuleList(nn.Linear(width, site.shape[0] * 9) for site in self.layers)

    def forward(self, embedded):
        c = self.condition(embedded)
        pairs = zip(self.layers, self.maps, strict=True)
        return Conditioning(
            {s.address: [DenseDelta(linear(c).view(-1, *s.shape))] for s, linear in pairs}
        )


class Elsewhere(Kernels):
    def forward(self, embedded):
        cond = super().forward(embedded)
        return Conditioning({f"{a}x": o for a, o in cond.operations.items()})


class Idle(Kernels):
    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.spare = nn.Linear(width, width)


class Frozen(Kernels):
    """A parameter that is not learned needs no gradient."""

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.basis = parameter(3, 3, init="normal").requires_grad_(False)


class Deaf(Kernels):
    def condition(self, embedded, streams=None):
        return super().condition(embedded, ["timestep"])


class Constant(Kernels):
    def condition(self, embedded, streams=None):
        return torch.ones_like(super().condition(embedded))


class Nothing(Kernels):
    def forward(self, embedded):
        return Conditioning()


class Late(Kernels):
    def forward(self, embedded):
        cond = super().forward(embedded)
        cond.tokens.append(ExtraTokens(torch.zeros(len(embedded["label"]), 1, 32), start=99))
        return cond


class Nowhere(Kernels):
    def forward(self, embedded):
        super().forward(embedded)


class Undefined(Kernels):
    def condition(self, embedded, streams=None):
        return super().condition(embedded) / 0


class Steep(Kernels):
    """Finite everywhere; its gradient is none at the initial value of its scale."""

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.scale = parameter(3, init="zeros")

    def condition(self, embedded, streams=None):
        return super().condition(embedded) * self.scale.square().sum().sqrt()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Kernels, None),
        (Frozen, None),
        (Elsewhere, "where the backbone has no site .did you mean '.*depthwise'"),
        (Idle, "nothing uses its parameters spare.weight, spare.bias"),
        (Deaf, "does not depend on 'label'"),
        (Constant, "does not depend on 'timestep'"),
        (Nothing, "changes nothing"),
        (Late, "join before block 99"),
        (Nowhere, "returns a NoneType, expected a Conditioning"),
        (Undefined, "output is not finite"),
        (Steep, "the gradients of scale are not finite"),
    ],
)
def test_a_method_that_does_not_act_is_named(kind, text, monkeypatch):
    monkeypatch.setitem(METHODS._entries, "mine", kind)
    monkeypatch.setattr(kind, "name", "mine", raising=False)
    spec = model_spec([method("mine") | {"plugin": "0" * 64}])
    actual = contract.fault(spec)
    if text is None:
        assert actual is None
    else:
        assert re.search(f"method 'mine': .*{text}", actual), actual


@pytest.mark.parametrize("name", EVERY)
def test_every_built_in_method_acts(name):
    spec = model_spec(**EVERY[name])
    methods = [m.model_copy(update={"plugin": "0" * 64}) for m in spec.methods]
    assert contract.fault(spec.model_copy(update={"methods": tuple(methods)})) is None
