"""Sources that are maps: which methods take them, and what is refused in one line."""

import dataclasses

import pytest
from specs import ROOT

from cabench.config.schema import Arm
from cabench.config.study import read_study
from cabench.errors import ConfigError
from cabench.planning.methods import Network, source_streams
from cabench.planning.models import resolve_models
from cabench.registry import METHODS

STUDY = ROOT / "studies" / "map_control.yaml"
NETWORK = Network(
    backbone="dit",
    preset="micro",
    patch=4,
    shape=(1, 16, 16),
    classes={"label": 10},
    needs=["label", "edges"],
    maps={"edges": (1, 16, 16)},
)


def resolved(methods, **changes):
    network = dataclasses.replace(NETWORK, **changes)
    return resolve_models({"arm": Arm(methods=methods)}, network)["arm"].spec


@pytest.mark.parametrize("backbone", ["dit", "uvit", "cat"])
def test_the_study_resolves_on_each_backbone(backbone):
    study = read_study(STUDY, backbone=backbone).study
    models = resolve_models(study.arms, dataclasses.replace(NETWORK, backbone=backbone))
    used = {
        name: {s for m in model.spec.methods for s in m.streams} for name, model in models.items()
    }
    assert used.pop("native+dw") == {"timestep", "label"}
    assert used and all(streams == {"timestep", "label", "edges"} for streams in used.values())


def test_maps_are_the_source_unless_one_is_named_and_both_has_none():
    maps = {"edges": (1, 16, 16), "mask": (3, 16, 16)}
    spec = resolved(["native", "map_concat"], needs=["edges", "label", "mask"], maps=maps)
    assert [m.streams for m in spec.methods] == [("timestep", "label"), ("edges", "mask")]
    assert spec.embedder.maps == maps
    assert source_streams("both", ["edges"], ["edges"]) == ["timestep"]
    assert source_streams("both", ["edges", "style"], ["edges"]) == ["timestep", "style"]


OF_VECTORS = [
    kind
    for kind in METHODS.names()
    if METHODS.get(kind).Options.takes_source and not METHODS.get(kind).Options.takes_maps
]


@pytest.mark.parametrize("kind", [k for k in OF_VECTORS if k != "timestep_mixture"])
def test_methods_of_vectors_refuse_a_map(kind):
    with pytest.raises(ConfigError) as caught:
        resolved([{kind: {"source": ["timestep", "edges"]}}])
    assert caught.value.where == ("arms", "arm", "methods", 0, kind, "source")
    assert str(caught.value).endswith("methods that take maps: map_branch, map_concat")


def test_a_mixture_over_the_timestep_takes_nothing_else():
    with pytest.raises(ConfigError, match=r"source.1: expected .*timestep"):
        resolved([{"timestep_mixture": {"source": ["timestep", "edges"]}}])


@pytest.mark.parametrize(
    ("methods", "changes", "text"),
    [
        ([{"map_concat": {"source": "label"}}], {}, "expected maps, got 'label'; maps: edges"),
        (
            ["map_concat"],
            {"needs": ["label"], "maps": {}},
            "the study needs no map; it needs label",
        ),
        (
            ["map_branch"],
            {"maps": {"edges": (1, 18, 18)}},
            "map_branch: map 'edges' of 18x18 pixels cannot be cut into square patches, one for "
            "each of 4x4 tokens",
        ),
        (["map_branch", "map_branch"], {}, "'map_branch' both need the hook 'block'"),
    ],
)
def test_what_does_not_fit_is_refused(methods, changes, text):
    with pytest.raises(ConfigError, match=text):
        resolved(methods, **changes)
