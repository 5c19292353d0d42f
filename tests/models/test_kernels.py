"""Every form of a layer with a weight per sample equals the loop, forward and backward."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cabench.cost.macs import HANDLES, UNCOUNTED
from cabench.errors import CabenchError
from cabench.models import cuda_forms, kernel_forms, kernels
from cabench.models.cuda_forms import Timing, choose_cuda
from cabench.models.kernel_forms import FORMS, choose
from cabench.models.kernels import (
    conditional_conv,
    conditional_depthwise,
    conditional_linear,
    static_depthwise,
)

ALL = [(kind, form) for kind in FORMS for form in FORMS[kind]]
OTHERS = [(kind, form) for kind, form in ALL if form != "loop"]
# (batch, grid, kernel): one sample; not square; one token; a kernel wider than the grid; a batch
# that splits into parts of unequal size
CASES = [(1, (4, 4), 3), (5, (3, 5), 3), (3, (1, 1), 3), (3, (2, 6), 5), (67, (4, 4), 3)]
CHANNELS, OUTPUTS = 8, 6


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Makes tiny batches run in parts, too: 3 samples of 4x4 at a time."""
    monkeypatch.setattr(kernels, "PART", 3 * 16 * CHANNELS)


def case(kind, batch, grid, kernel, dtype=torch.float32, channels=CHANNELS, outputs=OUTPUTS):
    """x, weight and bias of a layer as leaves, and the function that calls it."""
    g = torch.Generator().manual_seed(batch)
    n = grid[0] * grid[1]
    shapes = {
        "linear": ((batch, n, channels), (batch, outputs, channels), outputs),
        "depthwise": ((batch, n, channels), (batch, channels, 1, kernel, kernel), channels),
        "conv": ((batch, channels, *grid), (batch, outputs, channels, kernel, kernel), outputs),
    }[kind]
    leaves = [torch.randn(s, generator=g, dtype=dtype).requires_grad_() for s in shapes]
    return *leaves, layer(kind, grid)


def layer(kind, grid):
    if kind == "linear":
        return conditional_linear
    if kind == "conv":
        return conditional_conv
    return lambda x, weight, bias, form=None: conditional_depthwise(x, weight, bias, grid, form)


def both_ways(call, x, weight, bias, form):
    """Output and gradients of x, weight and bias."""
    y = call(x, weight, bias, form=form)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(7)).to(y.dtype)
    leaves = [t for t in (x, weight, bias) if t is not None]
    return y, *torch.autograd.grad(y, leaves, g)


def same(actual, expected, most=1e-5):
    """Equal up to `most` times the largest number."""
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert (a - b).abs().max() <= most * max(1.0, b.abs().max().item())


@pytest.mark.parametrize(("batch", "grid", "kernel"), CASES)
@pytest.mark.parametrize(("kind", "form"), OTHERS)
def test_equals_the_loop(kind, form, batch, grid, kernel):
    x, weight, bias, call = case(kind, batch, grid, kernel)
    for b in (bias, None):
        same(both_ways(call, x, weight, b, form), both_ways(call, x, weight, b, "loop"))


@pytest.mark.parametrize("kind", FORMS)
def test_the_loop_is_the_static_layer_for_each_sample(kind):
    """Independent of the loop's code: each sample is one call of torch's own layer."""
    x, weight, bias, call = case(kind, 4, (3, 5), 3)
    y = call(x, weight, bias, form="loop")
    for i in range(4):
        if kind == "linear":
            one = x[i] @ weight[i].T + bias
        elif kind == "conv":
            one = F.conv2d(x[i], weight[i], bias, padding="same")
        else:
            h = x[i].T.reshape(CHANNELS, 3, 5)
            one = F.conv2d(h, weight[i], bias, padding="same", groups=CHANNELS).flatten(1).T
        same([y[i]], [one])


@pytest.mark.parametrize(("kind", "form"), ALL)
def test_gradients_in_float64(kind, form):
    x, weight, bias, call = case(kind, 2, (2, 3), 3, torch.float64, channels=2, outputs=3)
    assert torch.autograd.gradcheck(
        lambda *leaves: call(*leaves, form=form), (x, weight, bias), fast_mode=False
    )


@pytest.mark.parametrize(("kind", "form"), ALL)
@pytest.mark.parametrize("needs", [(0,), (1,), (2,), (0, 2), (1, 2)])
def test_only_the_requested_gradients(kind, form, needs):
    x, weight, bias, call = case(kind, 3, (2, 3), 3)
    full = both_ways(call, x, weight, bias, form)
    leaves = [t.detach().requires_grad_(i in needs) for i, t in enumerate((x, weight, bias))]
    y = call(*leaves, form=form)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(7))
    same(torch.autograd.grad(y, [leaves[i] for i in needs], g), [full[1 + i] for i in needs])


@pytest.mark.parametrize(("kind", "form"), [*ALL, *((kind, None) for kind in FORMS)])
def test_one_weight_for_all_samples(kind, form):
    """A first axis of 1, or one expanded to the batch: the gradient is the sum over samples."""
    x, weight, bias, call = case(kind, 5, (3, 5), 3)
    one = weight[:1].detach().requires_grad_()
    each = one.detach().expand_as(weight).clone().requires_grad_()
    y, gx, gw, gb = both_ways(call, x, each, bias, "loop")
    expected = y, gx, gw.sum(0, keepdim=True), gb
    same(both_ways(call, x, one, bias, form), expected)
    expanded = call(x, one.expand_as(weight), bias, form=form)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(7))
    same([expanded, *torch.autograd.grad(expanded, (x, one, bias), g)], expected)


@pytest.mark.parametrize(("kind", "form"), ALL)
def test_inputs_with_another_memory_layout(kind, form):
    x, weight, bias, call = case(kind, 3, (2, 3), 3)
    odd = [t.detach().transpose(0, -1).contiguous().transpose(0, -1) for t in (x, weight)]
    odd = [t.requires_grad_() for t in odd]
    assert not any(t.is_contiguous() for t in odd)
    same(both_ways(call, *odd, bias, form), both_ways(call, x, weight, bias, "loop"))


@pytest.mark.parametrize(("kind", "form"), [*ALL, *((kind, None) for kind in FORMS)])
def test_the_same_bits_twice(kind, form):
    x, weight, bias, call = case(kind, 16, (4, 4), 3)
    first, second = (both_ways(call, x, weight, bias, form) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize(("kind", "form"), [*ALL, *((kind, None) for kind in FORMS)])
def test_autocast_to_bfloat16(kind, form, batch):
    x, weight, bias, call = case(kind, batch, (3, 5), 3)
    exact = both_ways(call, x, weight, bias, "loop")
    with torch.autocast("cpu", torch.bfloat16):
        y = call(x, weight, bias, form=form)
    assert y.dtype == torch.bfloat16
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(7)).bfloat16()
    actual = [y.float(), *torch.autograd.grad(y, (x, weight, bias), g)]
    same(actual, exact, most=0.02)  # bfloat16 has 8 bits: 0.004 per rounding


@pytest.mark.parametrize(("batch", "grid", "kernel"), [*CASES, (16, (8, 8), 3)])
def test_static_depthwise(batch, grid, kernel):
    x, weight, bias, _ = case("depthwise", batch, grid, kernel)
    one = weight[0].detach().requires_grad_()

    def plain(x, weight, bias, form=None):
        h = x.transpose(1, 2).reshape(batch, CHANNELS, *grid)
        h = F.conv2d(h, weight, bias, padding="same", groups=CHANNELS)
        return h.flatten(2).transpose(1, 2)

    def ours(x, weight, bias, form=None):
        return static_depthwise(x, weight, bias, grid)

    same(both_ways(ours, x, one, bias, None), both_ways(plain, x, one, bias, None))


# ---- MACs ---------------------------------------------------------------------------------------


class Layer(nn.Module):
    """A layer with a weight per sample as a module, which MAC counters need."""

    def __init__(self, call, weight, bias, form):
        super().__init__()
        self.call, self.form = call, form
        self.weight, self.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())

    def forward(self, x):
        return self.call(x, self.weight, self.bias, form=self.form)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(("kind", "form"), [*ALL, *((kind, None) for kind in FORMS)])
def test_both_counters_see_every_product(kind, form):
    from fvcore.nn import FlopCountAnalysis
    from torch.utils.flop_counter import FlopCounterMode

    batch, grid, n = 3, (2, 4), 8
    macs = (
        batch
        * n
        * {"linear": CHANNELS * OUTPUTS, "depthwise": CHANNELS * 9, "conv": CHANNELS * OUTPUTS * 9}[
            kind
        ]
    )
    x, weight, bias, call = case(kind, batch, grid, 3)
    module = Layer(call, weight, bias, form)
    analysis = FlopCountAnalysis(module, x.detach()).set_op_handle(**HANDLES)
    analysis.unsupported_ops_warnings(False).tracer_warnings("none")
    assert analysis.total() == macs
    assert set(analysis.unsupported_ops()) <= UNCOUNTED
    with FlopCounterMode(display=False) as counter:
        module.to("meta")(x.detach().to("meta"))
    assert counter.get_total_flops() == 2 * macs


# ---- the choice ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMS)
def test_choose_names_a_form_for_any_shape(kind):
    for batch in (1, 2, 16, 64, 1000):
        for positions in (1, 16, 64, 256, 4096):
            for width in (1, 64, 1536):
                for kernel in (1, 3, 5):
                    shape = (batch, positions, width, width, kernel)
                    assert choose(kind, *shape) in FORMS[kind]


def spied(monkeypatch, kind):
    """Lists which forms of a kind run."""
    ran = []

    def noting(name, function):
        def form(*args):
            ran.append(name)
            return function(*args)

        return form

    for name, function in list(FORMS[kind].items()):
        monkeypatch.setitem(FORMS[kind], name, noting(name, function))
    return ran


@pytest.mark.parametrize(("kind", "form"), ALL)
def test_the_variable_overrides_and_the_argument_overrides_both(kind, form, monkeypatch):
    ran = spied(monkeypatch, kind)
    x, weight, bias, call = case(kind, 4, (4, 4), 3)
    call(x, weight, bias)
    shape = (4, 16, CHANNELS, CHANNELS if kind == "depthwise" else OUTPUTS)
    chosen = choose(kind, *shape, *([3] if kind != "linear" else []))
    monkeypatch.setenv(kernel_forms.VARIABLE, f" {kind} = {form} ,")
    assert choose(kind, 4, 16, CHANNELS, CHANNELS) == form
    call(x, weight, bias)
    call(x, weight[:1], bias)  # else a static layer
    call(x, weight, bias, form="loop")
    assert ran == [chosen, form, form, "loop"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "depthwis=grouped",
            "^CABENCH_KERNELS: expected one of linear, depthwise, conv; "
            r"got 'depthwis' \(did you mean 'depthwise'\?\)$",
        ),
        (
            "linear=loop,depthwise=groupd",
            "^CABENCH_KERNELS: depthwise: expected one of loop, grouped, .*"
            r"got 'groupd' \(did you mean 'grouped'\?\)$",
        ),
        ("grouped", "^CABENCH_KERNELS: expected KIND=FORM.*got 'grouped'$"),
    ],
)
def test_a_wrong_variable_is_named(text, message, monkeypatch):
    monkeypatch.setenv(kernel_forms.VARIABLE, text)
    with pytest.raises(CabenchError, match=message):
        choose("depthwise", 4, 16, 8, 8, 3)


@pytest.mark.parametrize("kind", FORMS)
def test_a_wrong_form_is_named(kind):
    x, weight, bias, call = case(kind, 2, (2, 2), 3)
    with pytest.raises(CabenchError, match=rf"^form of {kind}: .*got 'lop' \(did you mean 'loop'"):
        call(x, weight, bias, form="lop")


@pytest.mark.parametrize("kind", FORMS)
def test_weights_must_be_as_many_as_samples(kind):
    x, weight, bias, call = case(kind, 6, (2, 2), 3)
    with pytest.raises(CabenchError, match=f"^{kind}: expected 6 weights.*got 3"):
        call(x, weight[:3], bias)


@pytest.mark.parametrize("kind", ["depthwise", "conv"])
def test_even_kernels_are_refused(kind):
    x, weight, bias, call = case(kind, 2, (4, 4), 2)
    with pytest.raises(CabenchError, match="^kernel: expected .*odd size, got 2x2"):
        call(x, weight, bias)


def test_one_weight_for_all_is_a_static_layer(monkeypatch):
    """A shared weight costs nothing per sample."""
    for kind in FORMS:
        ran = spied(monkeypatch, kind)
        x, weight, bias, call = case(kind, 4, (4, 4), 3)
        call(x, weight[:1], bias)
        assert ran == []


# ---- on CUDA -------------------------------------------------------------------------------------


def timings(kind, sizes, **ms):
    """A shape of the table, (batch, positions, inputs, outputs, kernel), with each form's time."""
    return [Timing(kind, *sizes, form=form, ms=value) for form, value in ms.items()]


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Writes a table in the place of cabench's."""
    path = tmp_path / "cuda_forms.csv"

    def put(*rows):
        cuda_forms.write(path, [timing for of_shape in rows for timing in of_shape])
        monkeypatch.setattr(cuda_forms, "TABLE", path)

    return put


def test_without_a_table_cuda_has_the_plain_forms_and_not_the_rule_of_a_cpu():
    assert not cuda_forms.TABLE.exists()  # whoever adds one raises training.DRAWS
    shape = (64, 64, 64, 64)
    assert {kind: choose_cuda(kind, *shape) for kind in FORMS} == kernel_forms.PLAIN
    assert choose("depthwise", *shape, 3) != choose_cuda("depthwise", *shape, 3)


def test_the_form_on_cuda_is_the_fastest_one_at_the_nearest_shape(table):
    table(
        timings("depthwise", (64, 64, 512, 512, 3), grouped=3.0, taps=1.0, wide=2.0),
        timings("depthwise", (256, 256, 1536, 1536, 3), grouped=3.0, taps=2.0, wide=1.5),
        timings("depthwise", (256, 256, 1536, 1536, 5), grouped=1.0, taps=2.0),
        timings("linear", (64, 64, 128, 128, 1), bmm=2.0, grouped=1.0),
    )
    assert choose_cuda("depthwise", 32, 64, 512, 512, 3) == "taps"
    assert choose_cuda("depthwise", 256, 256, 4608, 4608, 3) == "wide"
    assert choose_cuda("depthwise", 32, 64, 512, 512, 5) == "grouped"  # the same kernel
    assert choose_cuda("linear", 1, 1, 1, 1) == "grouped"
    assert choose_cuda("conv", 64, 64, 64, 64, 3) == "grouped"  # not in the table: plain


def test_each_type_of_device_has_its_rule(table):
    """A layer asks the rule of the device that its input lies on."""
    table(timings("depthwise", (5, 15, CHANNELS, CHANNELS, 3), taps=1.0, grouped=2.0))
    assert kernels.RULES["cuda"]("depthwise", 5, 15, CHANNELS, CHANNELS, 3) == "taps"
    assert kernels.RULES["cpu"]("depthwise", 5, 15, CHANNELS, CHANNELS, 3) == "wide"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("taps", "tabs", r"cuda_forms.csv:2: form: expected one of .*did you mean 'taps'"),
        ("depthwise,", "deepwise,", r"cuda_forms.csv:2: kind: expected one of"),
        (",64,", ",0,", r"cuda_forms.csv:2: expected values above 0 for kind, batch"),
        (",512,", ",many,", r"cuda_forms.csv:2: expected values above 0"),
    ],
)
def test_a_wrong_line_of_the_table_is_named(table, old, new, message):
    table(timings("depthwise", (64, 64, 512, 512, 3), taps=1.0))
    path = cuda_forms.TABLE
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(CabenchError, match=message):
        choose_cuda("depthwise", 64, 64, 512, 512, 3)
