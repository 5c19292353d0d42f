"""Arms -> models: methods that fit, matched sizes, one build per model."""

import copy

import pytest
from backbones import on_all
from conftest import TINY_SCALE
from invalid import assert_at, error_of, put
from specs import ROOT

from cabench.config.study import read_scale, read_study
from cabench.cost.macs import parameter_counts
from cabench.planning import models as planning_models
from cabench.planning.trials import plan
from cabench.records.spec import ModelSpec

STUDY = ROOT / "studies" / "layer_placement.yaml"


@pytest.fixture(scope="module")
def placement():
    return plan(read_study(STUDY), read_scale("quick"), all_arms=True)


def test_layer_placement_has_both_sequences_and_its_controls(placement):
    specs = {name: model.spec for name, model in placement.models.items()}
    assert len(specs) == 15 and placement.study.baseline == "native+dw"
    assert [m.kind for m in specs["native+can-3"].methods] == ["adaln_zero", "can"]
    assert [m.kind for m in specs["can-3"].methods] == ["can"]
    for name, spec in specs.items():
        modulated = any(m.kind == "adaln_zero" for m in spec.methods)
        assert spec.backbone.norm_affine is not modulated, name
        assert spec.backbone.depthwise is (name != "native"), name
    core = plan(placement.file, read_scale("quick"))
    assert core.arms == ["native", "native+dw", "native+can-3", "can-3"]


def test_parameters_are_those_of_the_built_model(placement):
    for model in placement.models.values():
        assert model.parameters == parameter_counts(model.spec)


def test_matched_arms_have_the_parameters_they_claim(placement):
    counts = {name: model.parameters.total for name, model in placement.models.items()}
    assert counts["can-3-matched"] == pytest.approx(counts["native+dw"], rel=0.025)
    assert counts["native+dw-wide"] == pytest.approx(counts["native+can-3"], rel=0.005)
    spec = placement.models["can-3-matched"].spec.dump()
    rank = spec["methods"][0]["options"]["rank"]
    off = abs(counts["can-3-matched"] - counts["native+dw"])
    for other in (rank + 1, rank - 1):  # the nearest whole rank
        changed = copy.deepcopy(spec)
        changed["methods"][0]["options"]["rank"] = other
        total = parameter_counts(ModelSpec.model_validate(changed)).total
        assert abs(total - counts["native+dw"]) >= off


def test_each_model_is_built_once_and_a_matched_one_three_times(monkeypatch):
    """Matching builds the sizes 1 and 2, whose parameter counts give the size, and the result."""
    built, attach = [], planning_models.attach

    def count(spec, *parts):
        built.append(spec)
        return attach(spec, *parts)

    monkeypatch.setattr(planning_models, "attach", count)
    study = read_study(STUDY)
    plan(study, read_scale("quick"), all_arms=True)
    matched = sum(arm.match is not None for arm in study.study.arms.values())
    assert matched and len(built) == len(study.study.arms) + 2 * matched


def test_the_native_embedder_is_the_published_one(tiny):
    path, scale = on_all(tiny, "question", "embedder: native\nquestion")
    native = {
        name: plan(read_study(path, backbone=name), scale).models["can-3"].spec.embedder
        for name in ("dit", "uvit")
    }
    assert not native["dit"].normalise and not native["uvit"].normalise
    assert native["dit"].timestep is None and native["uvit"].timestep == "sinusoid"
    shared = plan(read_study(tiny / "tiny.yaml"), scale).models["can-3"].spec.embedder
    assert shared.normalise


def models_of(tiny, old, new, backbone="dit"):
    path, scale = on_all(tiny, old, new)
    return plan(read_study(path, backbone=backbone), scale, all_arms=True).models


def test_the_profile_as_published_sets_options_and_embedder(tiny):
    published = models_of(tiny, "question", "profile: as_published\nquestion")
    uniform = models_of(tiny, "question", "question")
    (native,) = published["native+dw"].spec.methods
    assert native.options["sum_scale"] == "one" and not published["can-3"].spec.embedder.normalise
    (native,) = uniform["native+dw"].spec.methods
    assert native.options["sum_scale"] == "sqrt" and uniform["can-3"].spec.embedder.normalise


def test_what_an_arm_writes_goes_before_its_profile(tiny):
    arm = "{methods: [{film: {norms: all}}], profile: as_published, embedder: gain, extra: true}"
    model = models_of(tiny, "{methods: [{can: {sites: all}}], extra: true}", arm)["can-all"].spec
    assert model.methods[0].options["norms"] == "all"
    assert model.methods[0].options["sum_scale"] == "one"
    assert model.embedder.gains == {"timestep": 0.05, "label": 0.02}


def test_uvit_below_the_published_width_is_drawn_by_fan_in(tiny):
    spreads = {}
    for profile in ("uniform", "as_published"):
        models = models_of(tiny, "question", f"profile: {profile}\nquestion", "uvit")
        spreads[profile] = models["can-3"].spec.backbone.sizes.get("spread", 0.02)
    assert spreads == {"uniform": pytest.approx(0.02 * (512 / 32) ** 0.5), "as_published": 0.02}


def test_an_arm_sets_options_of_its_backbone(tiny):
    arm = "{methods: [can], backbone: {depthwise_at: before}, extra: true}"
    spec = models_of(tiny, "{methods: [{can: {sites: all}}], extra: true}", arm)["can-all"].spec
    assert spec.backbone.arguments["depthwise_at"] == "before"


@pytest.mark.parametrize(
    ("options", "key", "text"),
    [
        ("{depthwise_before: true}", "depthwise_before", "did you mean 'depthwise_at'?"),
        ("{depthwise_at: middle}", "depthwise_at", "'after' or 'before'"),
        ("{width: 32}", "width", "unknown option of dit 'width'"),
    ],
)
def test_options_that_a_backbone_does_not_offer_are_refused(tiny, options, key, text):
    arm = f"{{methods: [can], backbone: {options}, extra: true}}"
    old = "{methods: [{can: {sites: all}}], extra: true}"
    error = error_of(lambda: models_of(tiny, old, arm))
    assert_at(error, tiny / "all.yaml", 8, f"arms.can-all.backbone.{key}")
    assert text in str(error)


# fmt: off
UNFIT = {  # backbone, methods, text of the message
    "tokens on cat": ("cat", "tokens", "unknown cat hook 'tokens'"),
    "a late start": ("uvit", "{tokens: {start: 3}}", "tokens: start: "),
    "lora of kernels": ("dit", "{lora: {sites: [depthwise]}}", "attn_qkv"),
    "too many experts": ("dit", "{timestep_moe: {experts: 2, top: 3}}", "top: "),
    "too large a capacity": ("dit", "{expert_choice: {experts: 2, capacity: 3}}", "capacity: "),
    "joint on cat": ("cat", "joint_attention", "unknown cat hook 'joint'"),
    "conditioned on the label": ("dit", "{timestep_mixture: {source: label}}", "'timestep'"),
    "a site of cat": ("dit", "{can: {sites: [agg]}}", "unknown dit site 'agg'"),
    "two contexts": ("dit", "cross_attention, cross_attention", "the hook 'context'"),
}
# fmt: on


@pytest.mark.parametrize("case", UNFIT)
def test_methods_that_do_not_fit_are_refused_with_the_reason(tiny, case):
    backbone, methods, text = UNFIT[case]
    can_all = "{methods: [{can: {sites: all}}], extra: true}"
    path, scale = on_all(tiny, can_all, f"{{methods: [{methods}], extra: true}}")
    error = error_of(lambda: plan(read_study(path, backbone=backbone), scale, all_arms=True))
    assert (str(error.path), error.line, error.where[:2]) == (str(path), 8, ("arms", "can-all"))
    assert text in str(error)


def test_arms_that_are_too_large_get_the_scales_bottleneck_or_are_refused(tiny):
    study, scale = read_study(tiny / "tiny.yaml"), TINY_SCALE.lstrip()
    normal = plan(study, read_scale("scale.yaml"))
    most = normal.models["native+dw"].parameters.total + 5000
    put(tiny / "small.yaml", scale + f"max_params: {most}\n")
    error = error_of(lambda: plan(study, read_scale("small.yaml")))
    assert_at(error, tiny / "tiny.yaml", 6, "arms.can-3")
    assert "(bottleneck: 64)" in str(error)
    put(tiny / "narrow.yaml", scale + f"max_params: {most}\nbottleneck: 2\n")
    models = plan(study, read_scale("narrow.yaml")).models
    options = models["can-3"].spec.methods[0].options
    assert (options["generator"], options["rank"]) == ("bottleneck", 2)
    assert models["can-3"].parameters.total <= most
    assert [name for name, model in models.items() if model.narrowed] == ["can-3", "can-all"]
    assert models["native+dw"] == normal.models["native+dw"]
    put(tiny / "wide.yaml", scale + "bottleneck: 2\n")
    same = plan(study, read_scale("wide.yaml"))  # no arm is too large: nothing changes
    assert [t.key for t in same.trials] == [t.key for t in normal.trials]
