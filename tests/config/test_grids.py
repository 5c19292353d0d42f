# ruff: noqa: E501  (a table of arms)
"""`grid` in an arm: the arms it makes, and the line of every error."""

import pytest
from cli import cabench
from conftest import TINY_STUDY
from invalid import DRY, assert_at, error_of, put, refused

from cabench.config.cost_study import model_arms, read_cost_study
from cabench.config.study import read_scale, read_study
from cabench.planning.trials import added_claims, plan

CAN = "can-3: {methods: [{can: {sites: [depthwise, patch_embed, attn_out]}}]}"
LINE = 6  # of the arm with the grid


def study(tiny, arm, than="native+dw", better="native+dw"):
    """The tiny study with another arm instead of can-3."""
    text = TINY_STUDY.lstrip().replace(CAN, arm)
    text = text.replace("better: can-3, than: native+dw", f"better: {better}, than: {than}")
    return put(tiny / "grid.yaml", text)


def planned(path):
    return plan(read_study(path), read_scale("scale.yaml"), all_arms=True)


RANKS = "can: {methods: [{can: {generator: bottleneck}}], grid: {can.rank: [4, 8]}, about: x}"


def test_an_arm_per_value_with_the_keys_of_arms_written_out(tiny):
    grid = planned(study(tiny, RANKS, better="can-rank-8"))
    assert grid.arms == ["native+dw", "can-rank-4", "can-rank-8", "can-all"]
    one = "can-rank-{0}: {{methods: [{{can: {{generator: bottleneck, rank: {0}}}}}], about: x}}"
    written = study(tiny, f"{one.format(4)}\n  {one.format(8)}", better="can-rank-8")
    assert [t.key for t in grid.trials] == [t.key for t in planned(written).trials]
    assert grid.study == planned(written).study


def test_an_arm_per_combination_the_last_key_fastest(tiny):
    grid = (
        "{can.sites: [[depthwise], [depthwise, head]], film.norms: [all], can.bias: [true, false]}"
    )
    arm = f"m: {{methods: [can, film], depthwise: static, grid: {grid}}}"
    arms = read_study(study(tiny, arm, better="can-all")).study.arms
    assert list(arms)[1:-1] == [
        "m-sites-depthwise-norms-all-bias-true",
        "m-sites-depthwise-norms-all-bias-false",
        "m-sites-depthwise+head-norms-all-bias-true",
        "m-sites-depthwise+head-norms-all-bias-false",
    ]
    assert arms["m-sites-depthwise-norms-all-bias-true"].methods == [
        {"can": {"sites": ["depthwise"], "bias": True}},
        {"film": {"norms": "all"}},
    ]


def test_keys_of_the_arm_and_options_of_the_backbone(tiny):
    grid = "{embedder: [raw, gain], backbone.depthwise_at: [before]}"
    arm = f"n: {{methods: [native], depthwise: static, grid: {grid}}}"
    models = planned(study(tiny, arm, better="can-all")).models
    assert list(models)[1:-1] == [f"n-embedder-{e}-depthwise_at-before" for e in ("raw", "gain")]
    assert (
        models["n-embedder-raw-depthwise_at-before"].spec.backbone.sizes["depthwise_at"] == "before"
    )


def test_keys_that_end_alike_are_named_in_full(tiny):
    grid = "{can.bias: [true], film.activation: [none], can.activation: [silu]}"
    arm = f"m: {{methods: [can, film], grid: {grid}}}"
    names = list(read_study(study(tiny, arm, better="can-all")).study.arms)
    assert names[1] == "m-bias-true-film.activation-none-can.activation-silu"


# fmt: off
WRONG = {  # the arm -> key of the error, what is said
    "can: {methods: [can], grid: {cna.rank: [4]}}": ("arms.can.grid.cna.rank", "unknown method of the arm 'cna' (did you mean 'can'?)"),
    "can: {methods: [can], grid: {film.norms: [all]}}": ("arms.can.grid.film.norms", "unknown method of the arm 'film'; allowed: can"),
    "can: {methods: [native], grid: {native.rank: [4]}}": ("arms.can.grid.native.rank", "unknown method of the arm 'native'; allowed: none"),
    "can: {methods: [can, can], grid: {can.rank: [4]}}": ("arms.can.grid.can.rank", "the arm has 'can' twice"),
    "can: {methods: [{can: {rank: 2}}], grid: {can.rank: [4]}}": ("arms.can.grid.can.rank", "the arm has a value for it, 2, too"),
    "can: {methods: [can], grid: {can.rnk: [4]}}": ("arms.can-rnk-4.methods.0.can.rnk", "unknown key (did you mean 'rank'?)"),
    "can: {methods: [can], grid: {can.sites: [[hed]]}}": ("arms.can-sites-hed.methods.0.can.sites.0", "(did you mean 'head'?)"),
    "can: {methods: [can], grid: {embeder: [raw]}}": ("arms.can.grid.embeder", "(did you mean 'embedder'?)"),
    "can: {methods: [can], grid: {embedder: [raw, rw]}}": ("arms.can.grid.embedder.1", "got 'rw' (did you mean 'raw'?)"),
    "can: {methods: [can], grid: {methods: [can]}}": ("arms.can.grid.methods", "unknown key of a grid 'methods'"),
    "can: {methods: [can], grid: {backbone.depthwise_a: [before]}}": ("arms.can-depthwise_a-before.backbone.depthwise_a", "(did you mean 'depthwise_at'?)"),
    "can: {methods: [can], grid: {can.rank: []}}": ("arms.can.grid.can.rank", "expected a list of at least 1 item"),
    "can: {methods: [can], grid: {can.rank: 4}}": ("arms.can.grid.can.rank", "expected a list, got 4"),
    "can: {methods: [can], grid: {can.rank: [4, 4]}}": ("arms.can.grid", "two arms have the name 'can-rank-4'"),
    "can: {methods: [can], grid: {can.rank: [-1]}}": ("arms.can-rank--1.methods.0.can.rank", "got -1"),
    "can: {methods: [can], grid: {can.sites: [[patch_embed, attn_qkv, attn_out, ffn_in, depthwise, ffn_out]]}}": ("arms.can.grid", "a combination would be named"),
    "can: {methods: [cna], grid: {embedder: [raw]}}": ("arms.can-embedder-raw.methods.0", "(did you mean 'can'?)"),
}
# fmt: on


@pytest.mark.parametrize("arm", WRONG)
def test_errors_name_the_line_of_the_grid(tiny, arm):
    path = study(tiny, arm, better="can-all")
    key, said = WRONG[arm]
    error = error_of(lambda: planned(path))
    assert_at(error, path, LINE, key)
    assert said in str(error)


def test_the_line_is_that_of_the_value(tiny):
    arm = "can:\n    methods: [{can: {generator: mlp}}]\n    grid:\n      embedder: [raw]\n      can.rank:\n        - 4\n        - 0"
    path = study(tiny, arm, better="can-all")
    assert error_of(lambda: planned(path)).line == LINE + 6


REFERENCES = {  # edit of the study -> line and key of the error
    ("better: can-all", "better: can"): (9, "claims.0.better"),
    ("than: native+dw", "than: can"): (9, "claims.0.than"),
    ("than: native+dw,", "than: native+dw, also_than: [can],"): (9, "claims.0.also_than"),
    ("baseline: native+dw", "baseline: can"): (3, "baseline"),
    ("{sites: all}}]", "{generator: bottleneck}}], match: {params_of: can, by: rank}"): (
        7, "arms.can-all.match.params_of"
    ),
}  # fmt: skip


@pytest.mark.parametrize("edit", REFERENCES)
def test_the_name_without_the_grid_is_no_arm(tiny, edit):
    text = study(tiny, RANKS, better="can-all").read_text()
    assert edit[0] in text
    path = put(tiny / "grid.yaml", text.replace(*edit))
    error = error_of(lambda: read_study(path))
    assert_at(error, path, *REFERENCES[edit])
    assert error.text == "'can' has a grid; expected one of its arms: can-rank-4, can-rank-8"


def test_two_arms_of_one_name(tiny):
    arm = "can-rank-4: {methods: [can]}\n  can: {methods: [can], grid: {can.rank: [4]}}"
    path = study(tiny, arm, better="can-all")
    assert_at(error_of(lambda: read_study(path)), path, LINE + 1, "arms.can.grid")


def test_too_many_combinations(tiny):
    values = list(range(100))
    arm = f"can: {{methods: [can], grid: {{can.rank: {values}, can.a: {values}}}}}"
    path = study(tiny, arm, better="can-all")
    error = error_of(lambda: read_study(path))
    assert_at(error, path, LINE, "arms.can.grid")
    assert error.text == "expected at most 1,000 arms, got 10,000"


def test_an_arm_of_the_command_line_may_have_a_grid(tiny):
    arm = "{mine: {methods: [{can: {generator: bottleneck}}], grid: {can.rank: [2, 3]}}}"
    file = read_study(tiny / "tiny.yaml", [arm])
    assert [claim.better for claim in added_claims(file)] == ["mine-rank-2", "mine-rank-3"]
    wrong = refused(*DRY, "--arm", arm.replace("can.rank", "can.rnk"))
    assert wrong.startswith("--arm: arms.mine-rnk-2.methods.0.can.rnk: unknown key (did you mean")
    wrong = refused(*DRY, "--arm", arm.replace("can.rank", "cna.rank"))
    assert wrong.startswith("--arm:1: arms.mine.grid.cna.rank: unknown method of the arm 'cna'")


def test_a_cost_study(tiny):
    text = """
study: costs
kind: cost
question: What does a rank cost?
models: {nano: {backbone: dit, preset: micro, patch: 4, shape: [1, 8, 8]}}
baseline: native
arms:
  native: {methods: [native]}
  can: {methods: [{can: {generator: bottleneck}}], grid: {can.rank: [2, 4]}}
claims:
  - {id: C, says: x, of: "nano:can-rank-4", over: "nano:native", metric: macs, most: 2}
"""
    path = put(tiny / "costs.yaml", text.lstrip())
    names = ["native", "can-rank-2", "can-rank-4"]
    assert model_arms(read_cost_study(path).study) == [f"nano:{name}" for name in names]
    put(path, text.lstrip().replace("nano:can-rank-4", "nano:can"))
    assert_at(error_of(lambda: read_cost_study(path)), path, 10, "claims.0.of")


def test_the_dry_run_lists_the_arms(tiny):
    study(tiny, RANKS, better="can-rank-4")
    code, out, err = cabench("run", "grid.yaml", *DRY[2:])
    assert (code, err) == (0, "")
    assert "can-rank-4" in out and "can-rank-8" in out
