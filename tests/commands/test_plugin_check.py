"""`cabench plugin check`: what a plugin's parts must do, tried without training."""

import pytest
from cli import cabench
from invalid import put
from specs import ROOT

from cabench.plugins import load_plugins

METHOD = """
from torch import nn
from cabench.models.conditioning.base import Method, VectorOptions
from cabench.models.operations import Conditioning, DenseDelta
from cabench.registry import METHODS


@METHODS.register("mine")
class Mine(Method):
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
        return Conditioning(
            {ADDRESS: [DenseDelta(m(c).view(-1, *s.shape))] for s, m in zip(self.layers, self.maps)}
        )
"""
METRIC = """
import numpy as np
from cabench.registry import METRICS


@METRICS.register("mine")
class Mine:
    version, needs, higher_is_better = 1, "samples", HIGHER
    label, min_samples = "mine@{n}", 1

    @staticmethod
    def compute(generated, reference, images, labels, scorer):
        return VALUE
"""
DATA = """
import numpy as np
from cabench.data import load_dataset
from cabench.data.dataset import Dataset, Split
from cabench.registry import DATASETS


@DATASETS.register("mine")
def mine():
    base = load_dataset("digits")
    labels = {name: split.streams["label"] + SHIFT for name, split in base.splits.items()}
    splits = {n: Split(s.images, {"label": labels[n]}) for n, s in base.splits.items()}
    return Dataset("mine", "none", base.classes, False, splits)


mine.version = 1
"""
BACKBONE = """
from cabench.models.backbones.dit import DiT
from cabench.registry import BACKBONES


@BACKBONES.register("mine")
class Mine(DiT):
    def forward(self, x, cond):
        return super().forward(x, cond)EXTRA
"""


@pytest.fixture(autouse=True)
def no_plugin_stays():
    yield
    load_plugins([])


GAP = "abs(images.mean() - scorer.dataset.split('report').images.mean())"
CASES = {
    "method": (METHOD.replace("ADDRESS", "s.address"), None),
    "method elsewhere": (METHOD.replace("ADDRESS", "s.address + 'x'"), "has no site"),
    "method that raises": (METHOD.replace("ADDRESS", "s.adress"), "AttributeError"),
    "method whose MACs cannot be counted": (
        METHOD.replace("ADDRESS", "s.address").replace("m(c)", "m(c).cumsum(1)"),
        "no rule to count aten::cumsum",
    ),
    "metric": (METRIC.replace("HIGHER", "False").replace("VALUE", GAP), None),
    "metric without a number": (
        METRIC.replace("HIGHER", "True").replace("VALUE", "np.nan"),
        "expected finite numbers",
    ),
    "data": (DATA.replace("SHIFT", "0"), None),
    "data with a class too many": (DATA.replace("SHIFT", "1"), "'label' below 10"),
    "backbone": (BACKBONE.replace("EXTRA", ""), None),
    "backbone of another shape": (BACKBONE.replace("EXTRA", "[:, :, :4]"), "to (3, 1, 4, 8)"),
}


@pytest.mark.parametrize("what", CASES)
def test_each_part_is_tried_and_its_fault_named(tmp_path, what):
    source, fault = CASES[what]
    path = put(tmp_path / f"{what.replace(' ', '_')}.py", source)
    code, out, err = cabench("plugin", "check", path, "--cache", tmp_path)
    assert not err, err
    lines = [line for line in out.splitlines() if "FAULT" in line]
    if fault is None:
        assert code == 0 and not lines and "'mine': ok" in out, out
    else:
        assert code == 1 and any(fault in line for line in lines), out


def test_the_example_passes():
    code, out, _ = cabench("plugin", "check", ROOT / "examples/gated_kernels.py")
    assert code == 0 and "on dit: its parameters get gradients" in out


def test_a_method_that_does_nothing_gets_no_row(tiny, monkeypatch):
    put(tiny / "mine.py", METHOD.replace("ADDRESS", "s.address + 'x'"))
    words = ("run", "tiny.yaml", "--scale", "scale.yaml", "--plugin", "mine.py")
    arm = ("--arm", "{mine: {methods: [native, mine]}}")
    for more in ([], ["--dry-run"]):
        code, _, err = cabench(*words, *arm, "--executor", "local", *more)
        assert code == 2 and "arms.mine" in err and "has no site" in err
        assert len(err.strip().splitlines()) == 1
    assert not (tiny / "results" / "records").exists()
