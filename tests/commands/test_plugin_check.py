"""`cabench plugin check`: what a plugin's parts must do, tried without training."""

import pytest
from cli import cabench
from invalid import DRY, put
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


METRICS = {
    "no number": ("False", "np.nan", "metric 'mine': expected finite numbers, got nan"),
    "an error": ("False", "1 / 0", "metric 'mine': ZeroDivisionError"),
    "no direction": ("'yes'", GAP, "metric 'mine': higher_is_better: expected true or false"),
    "the other direction": ("True", GAP, None),
}


@pytest.mark.parametrize("what", METRICS)
def test_a_metric_is_tried_on_real_images_before_anything_trains(tiny, what):
    higher, value, fault = METRICS[what]
    put(tiny / "mine.py", METRIC.replace("HIGHER", higher).replace("VALUE", value))
    put(tiny / "scale.yaml", (tiny / "scale.yaml").read_text().replace("[kid,", "[kid, mine,"))
    code, _, err = cabench(*DRY, "--plugin", "mine.py")
    assert len(err.strip().splitlines()) == 1, err
    if fault is None:
        assert code == 0 and "noise is not worse than real images" in err, err
        return
    assert code == 2 and fault in err, err
    if what == "no number":
        assert err.startswith("cabench: scale.yaml:9: metrics: ")
        again = cabench(*DRY[:-1], "--plugin", "mine.py", "--executor", "local")
        assert (again.code, again.err) == (code, err)
        assert not (tiny / "results").exists()


NETWORK_METRIC = """
from cabench.registry import METRICS


@METRICS.register("mine")
class Mine:
    version, needs, higher_is_better, label = 1, "model", False, "mine"

    @staticmethod
    def compute(model, process, dataset, heldout, device):
        return {NAME: float("VALUE")}
"""


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("mine", "nan", "got nan for mine"),
        ("other", "0", "expected its own value among those it returns, got other"),
        ("mine", "0", None),
    ],
)
def test_a_metric_of_networks_is_tried_on_an_untrained_one(tiny, name, value, fault):
    put(tiny / "mine.py", NETWORK_METRIC.replace("NAME", f"'{name}'").replace("VALUE", value))
    put(tiny / "scale.yaml", (tiny / "scale.yaml").read_text().replace("[kid,", "[kid, mine,"))
    code, _, err = cabench(*DRY, "--plugin", "mine.py")
    assert (code, err) == (0, "") if fault is None else (code == 2 and fault in err), err


SET = DATA.replace("SHIFT", "0")
DATASETS = {
    "a label too many": (SET.replace("+ 0", "+ 1"), "'label' below 10"),
    "negative labels": (SET.replace("+ 0", "- 1"), "'label' below 10"),
    "labels that are floats": (SET.replace("+ 0", "+ 0.0"), "expected whole numbers"),
    "a label too few": (SET.replace('["label"] + 0', '["label"][1:]'), "expected one per image"),
    "floats": (SET.replace("s.images,", "s.images / 255,"), "expected (N, C, H, W) uint8"),
    "three axes": (SET.replace("s.images,", "s.images[:, 0],"), "expected (N, C, H, W) uint8"),
    "two sizes": (
        SET.replace("s.images,", "s.images[:, :, len(n) % 2:],"),
        "expected the shape (1, 8, 8) of 'report'",
    ),
    "no such split": (
        SET.replace("splits = {n", "_, *few = base.splits.items()\n    splits = {n").replace(
            "for n, s in base.splits.items()}\n    return", "for n, s in few}\n    return"
        ),
        "expected the splits generator-train, judge-train, report",
    ),
    "no data set": (SET.replace("return Dataset", "return list"), "TypeError"),
    "nothing": (SET.replace("return Dataset", "Dataset"), "expected a Dataset, got a NoneType"),
    "no label": (SET.replace('{"label": labels[n]}', "{}"), "expected a stream 'label'"),
}  # fmt: skip


@pytest.mark.parametrize("what", DATASETS)
def test_a_data_set_is_checked_before_anything_trains(tiny, what):
    source, fault = DATASETS[what]
    put(tiny / "mine.py", source)
    put(tiny / "scale.yaml", (tiny / "scale.yaml").read_text().replace("digits", "mine"))
    for words in (DRY, (*DRY[:-1], "--data", "mine"), ("data", "check", "mine")):
        code, _, err = cabench(*words, "--plugin", "mine.py")
        assert code == 2 and fault in err and len(err.strip().splitlines()) == 1, (words, err)


def test_images_that_no_metric_can_take_are_refused(tiny):
    put(tiny / "mine.py", SET.replace("s.images,", "np.repeat(s.images, 5, 1),"))
    put(tiny / "scale.yaml", (tiny / "scale.yaml").read_text().replace("digits", "mine"))
    code, _, err = cabench(*DRY, "--plugin", "mine.py")
    assert code == 2 and len(err.strip().splitlines()) == 1
    assert "expected images of 1, 3 or 4 channels" in err and "got 5" in err


def test_a_data_set_that_needs_options_is_not_tried(tmp_path):
    path = put(tmp_path / "mine.py", SET.replace("def mine():", "def mine(path: str):"))
    code, out, err = cabench("plugin", "check", path)
    assert code == 0 and not err
    assert out == (
        "data set 'mine': ok: it needs options: cabench data check mine --plugin FILE -o path=...\n"
    )


BACKBONES = {
    "a description that fails": (
        "",
        "describe = staticmethod(lambda options: options['nothing'])",
        "describe: KeyError",
    ),
    "no description": (
        "",
        "describe = staticmethod(lambda options: None)",
        "describe: expected a text, got None",
    ),
    "another shape": ("[:, :, :4]", "", "expected an output of (16, 1, 8, 8), as its input"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", BACKBONES)
def test_a_backbone_is_tried_before_anything_trains(tiny, what):
    extra, member, fault = BACKBONES[what]
    put(tiny / "mine.py", BACKBONE.replace("EXTRA", extra) + f"\n    {member}\n")
    code, _, err = cabench(*DRY, "--plugin", "mine.py", "--backbone", "mine")
    last = err.strip().splitlines()[-1]  # after the line on preset and patch
    assert code == 2 and "backbone 'mine'" in last and fault in last, err
    assert len(err.strip().splitlines()) == 2
