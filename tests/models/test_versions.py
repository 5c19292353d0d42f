"""The numbers of every method, backbone and the embedder are pinned under their versions.

See pins.py for what to do when a test here fails.
"""

from pathlib import Path

import pins
import pytest
import torch
from specs import METHODS, OF_MAPS, ON, SOURCE, method, model_spec

from cabench.diffusion import training
from cabench.models import embedding
from cabench.models.embedding import ConditionEmbedder, Embedded
from cabench.models.model import build, build_initialised
from cabench.models.operations import Conditioning
from cabench.registry import BACKBONES
from cabench.registry import METHODS as REGISTERED

PINS = Path(__file__).parent / "versions.json"
TEXT = ["timestep", "text"]
# Methods that look at a text's tokens, beside one that looks at their mean
OF_TEXT = {
    f"{kind}-text": dict(methods=[method(kind, TEXT)], affine=True)
    for kind in ("can", "cross_attention", "tokens", "text_kernels", "joint_attention")
}
EVERY = METHODS | OF_TEXT | OF_MAPS
CASES = ON + [("dit", name) for name in (*OF_TEXT, *OF_MAPS)] + [("cat", "map_branch")]
EMBEDDERS = {
    "shared": {},
    "raw": {"normalise": False},
    "gain": {"gains": {"timestep": 0.05, "label": 0.02, "text": 0.02}, "spread": 0.05},
    "sinusoid": {"normalise": False, "timestep": "sinusoid", "table": "normal"},
}
everywhere = pytest.mark.parametrize(("backbone", "name"), CASES)


def spec_on(backbone, name):
    return model_spec(**EVERY[name], backbone=backbone)


def noise(*shape, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def condition():
    """The embedding of 3 conditions: timestep, label, and a text of up to 4 tokens."""
    embedded = Embedded({stream: noise(3, 32, seed=i) for i, stream in enumerate(SOURCE)})
    mask = torch.arange(4) < torch.tensor([[4], [2], [1]])
    embedded.sequences["text"] = noise(3, 4, 32, seed=9), mask
    embedded.maps["edges"] = noise(3, 1, 8, 8, seed=10)
    return embedded


def numbers_of(backbone, name):
    """Output and gradients of a model in float64 whose condition is given, not embedded."""
    model = pins.fill(build(spec_on(backbone, name)).double())
    given = Conditioning()
    embedded = condition()
    for part in model.methods.values():
        given.update(part(embedded))
    y = model.backbone(noise(3, 1, 8, 8, seed=5), given)  # (3, 1, 8, 8)
    (y * noise(*y.shape, seed=6)).sum().backward()
    numbers = pins.statistics("output", y)
    for part in ("backbone", "methods"):
        gradients = [p.grad.flatten() for p in getattr(model, part).parameters()]
        numbers |= pins.statistics(f"gradient of {part}", torch.cat(gradients))
    return numbers


def check(backbone, name):
    versions = pins.versions_of(spec_on(backbone, name))
    rel = 1e-5 if backbone == "cat" else 1e-8  # cat's linear attention sums in float32
    pins.check(PINS, f"{name} on {backbone}", versions, numbers_of(backbone, name), rel)


def check_initial(backbone, name):
    spec = spec_on(backbone, name)
    model = build_initialised(spec, seed=0)
    numbers = {}
    for part in ("backbone", "methods"):
        values = torch.cat([p.flatten() for p in getattr(model, part).parameters()])
        numbers |= {f"size of {part}": len(values), **pins.statistics(part, values)}
    versions = {"training.RECIPE": training.RECIPE, **pins.versions_of(spec)}
    pins.check(PINS, f"initial values of {name} on {backbone}", versions, numbers, rel=1e-6)


def check_embedder(name):
    """Vectors and tokens of timestep, label and text, two of four conditions dropped."""
    model = ConditionEmbedder(32, {"label": 10}, text={"text": 12}, **EMBEDDERS[name])
    model = pins.fill(model.double())
    mask = torch.arange(5) < torch.tensor([[5], [4], [1], [2]])
    streams = {"label": torch.tensor([1, 0, 9, 4]), "text": (noise(4, 5, 12, seed=3), mask)}
    drop = torch.tensor([False, True, False, True])
    embedded = model(torch.tensor([0.0, 2.5, 30.0, 100.0]), streams, drop)
    numbers = {}
    for stream in ("timestep", "label", "text"):
        numbers |= pins.statistics(stream, embedded[stream])
    tokens, mask = embedding.sequence(embedded, ["label", "text"])
    numbers |= pins.statistics("tokens", tokens * mask.unsqueeze(2))
    numbers |= pins.statistics("sum", embedded["timestep"] + embedded["text"])
    # float32 frequencies: an ulp at t = 100
    pins.check(
        PINS, f"embedder {name}", {"embedding.VERSION": embedding.VERSION}, numbers, rel=1e-5
    )


@everywhere
def test_numbers_change_only_with_a_version(backbone, name):
    check(backbone, name)


@everywhere
def test_initial_values_change_only_with_a_version(backbone, name):
    check_initial(backbone, name)


@pytest.mark.parametrize("name", EMBEDDERS)
def test_the_embedder_changes_only_with_its_version(name):
    check_embedder(name)


def test_every_part_is_pinned_and_nothing_else():
    names = {f"{name} on {backbone}" for backbone, name in CASES}
    names |= {f"initial values of {name}" for name in names}
    assert set(pins.read(PINS)) == names | {f"embedder {name}" for name in EMBEDDERS}
    versions = {version for pin in pins.read(PINS).values() for version in pin["versions"]}
    expected = {f"version of method {kind}" for kind in REGISTERED.names()}
    expected |= {f"version of backbone {kind}" for kind in BACKBONES.names()}
    assert versions == expected | {"training.RECIPE", "embedding.VERSION"}


# ---- the net works ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [kind for kind in REGISTERED.names() if REGISTERED.get(kind).Options.takes_source]
)
def test_a_change_of_a_method_is_caught(kind, monkeypatch):
    """A condition that is one in ten thousand larger."""
    monkeypatch.delenv(pins.REPIN, raising=False)
    cls = REGISTERED.get(kind)
    original = cls.forward

    def changed(self, embedded):
        larger = Embedded({stream: value * 1.0001 for stream, value in embedded.items()})
        larger.maps = {stream: value * 1.0001 for stream, value in embedded.maps.items()}
        return original(self, larger)

    monkeypatch.setattr(cls, "forward", changed)
    arms = METHODS | {n: {"methods": arm["methods"][1:]} for n, arm in OF_MAPS.items()}
    name = next(n for n, arm in arms.items() if next(m["kind"] for m in arm["methods"]) == kind)
    with pytest.raises(AssertionError, match=f"no version did.*version of method {kind} "):
        check("dit", name)
    monkeypatch.setattr(cls, "version", cls.version + 1)
    with pytest.raises(AssertionError, match=pins.REPIN):
        check("dit", name)


@pytest.mark.parametrize("backbone", ["dit", "uvit", "cat"])
def test_a_change_of_a_backbone_is_caught(backbone, monkeypatch):
    """Norms with a thousand times their epsilon."""
    original = torch.nn.functional.layer_norm

    def changed(*args, eps):
        return original(*args, eps=1000 * eps)

    monkeypatch.setattr(torch.nn.functional, "layer_norm", changed)
    with pytest.raises(AssertionError, match=f"no version did.*version of backbone {backbone} "):
        check(backbone, "film")


def test_a_change_of_an_initial_value_is_caught(monkeypatch):
    from cabench.models.init import RULES

    xavier = RULES["xavier"]
    monkeypatch.setitem(RULES, "xavier", lambda p, g: xavier(p, g).mul_(1.0001))
    with pytest.raises(AssertionError, match=r"no version did.*training.RECIPE"):
        check_initial("dit", "adaln_zero")


def test_a_change_of_the_embedder_is_caught(monkeypatch):
    monkeypatch.setattr(embedding, "mean_over", lambda tokens, mask: tokens.mean(1))
    with pytest.raises(AssertionError, match=r"no version did.*embedding.VERSION"):
        check_embedder("shared")
