"""The GELU of DiT in our form against torch's own, in double precision."""

import torch
import torch.nn.functional as F

from cabench.models.activations import gelu_tanh


def test_equals_torchs_forward_and_backward():
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([0.0, -1e4, 1e4, 1e8, -1e8])])
    true = x.double().requires_grad_()
    F.gelu(true, approximate="tanh").square().sum().backward()
    ours = x.clone().requires_grad_()
    y = gelu_tanh(ours)
    y.square().sum().backward()
    assert type(y.grad_fn).__name__.startswith("_SigmoidGELU")
    torch.testing.assert_close(y.double(), F.gelu(true, approximate="tanh"), rtol=2e-6, atol=1e-6)
    torch.testing.assert_close(ours.grad.double(), true.grad, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(gelu_tanh(x), y, rtol=0, atol=0)


def test_other_precisions_are_torchs():
    for dtype in (torch.bfloat16, torch.float64):
        x = torch.randn(50, generator=torch.Generator().manual_seed(0)).to(dtype)
        assert torch.equal(gelu_tanh(x), F.gelu(x, approximate="tanh"))
