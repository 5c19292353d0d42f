"""Studies of kind cost and timing: counts against arithmetic, verdicts, wrong files."""

import json
import re

import numpy as np
import pytest
import torch
from cli import cabench as command
from invalid import Invalid, edited
from scipy.stats import binom
from specs import ROOT, write

from cabench.commands.cost_study import verdict
from cabench.config.cost_study import Claim, Layer, kind_of, read_cost_study
from cabench.cost.timing import Ratio, alternate, layer_of, ratio
from cabench.errors import CabenchError

COST = """
study: small
kind: cost
question: What does it add?
models:
  tiny/4: {backbone: dit, preset: micro, patch: 4, shape: [1, 8, 8], classes: 10}
  tiny/2: {backbone: uvit, preset: micro, patch: 2, shape: [1, 8, 8], classes: 10}
baseline: static
arms:
  static: {methods: [native], depthwise: static}
  can: {methods: [native, {can: {sites: [attn_out]}}], depthwise: static}
  tokens: {methods: [tokens], on: [dit]}
claims:
  - {id: C8, says: little, of: "tiny/4:can", over: "tiny/4:static", metric: macs, most: 1.0}
  - {id: C9, says: more, of: "tiny/2:can", over: "tiny/2:static", metric: params, least: 1.01}
"""
TIMING = (
    COST.replace("kind: cost", "kind: timing").replace("classes: 10}", "classes: 10, batch: 4}", 1)
    + """\
  - {id: C7, says: fast, of: "tiny/4:can", over: "tiny/4:static", metric: step, most: 1000}
  - {id: C6, says: slow, of: "dw:loop", over: "dw:static", metric: layer, least: 1000}
layers:
  dw: {kind: depthwise, inputs: 8, grid: [4, 4], batch: 3}
rounds: 6
"""
)


def test_counts_are_those_of_the_generator(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "small.yaml", COST)
    code, out, err = command("run", "small.yaml")
    assert code == 0 and not err
    result = json.loads((tmp_path / "results" / "small" / "result.json").read_text())
    actual = {(r["model"], r["arm"]): r for r in result["rows"]}
    assert ("tiny/2", "tokens") not in actual and len(actual) == 5
    added = 32 * 32 * 32  # width of the condition times one shared 32x32 weight
    for model in ("tiny/4", "tiny/2"):
        static, can = actual[model, "static"], actual[model, "can"]
        assert can["macs"] - static["macs"] in (added, added + 256 * 32 + 32 * 32)
        assert can["params"] - static["params"] == added
        assert can["macs_ratio"] == can["macs"] / static["macs"]
    assert [c["verdict"] for c in result["claims"]] == [
        "contradicted by counting",
        "supported by counting",
    ]
    assert (tmp_path / "results" / "small" / "overhead.png").stat().st_size > 10_000
    assert "GMACs" in out and "contradicted by counting" in re.sub(r"\s+", " ", out)


@pytest.mark.slow
def test_a_timing_study_measures_steps_sampling_and_layers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "small.yaml", TIMING)
    code, _, err = command("run", "small.yaml")
    assert code == 0 and not err
    result = json.loads((tmp_path / "results" / "small" / "result.json").read_text())
    for r in result["rows"]:
        timed = r["model"] == "tiny/4"
        for metric in ("step", "sampling", "latency"):
            assert (f"{metric}_ratio" in r) is timed
        if timed:
            assert r["step_low"] <= r["step_ratio"] <= r["step_high"]
            assert r["arm"] != "static" or r["step_ratio"] == 1
    assert {(r["of"], r["over"]) for r in result["layers"]} == {
        ("fused", "static"),
        ("loop", "fused"),
        ("loop", "static"),
    }
    assert "dw" in (tmp_path / "results" / "small" / "layers.csv").read_text()
    verdicts = {c["id"]: c["verdict"] for c in result["claims"]}
    assert verdicts["C7"] == "supported, on this machine"
    assert verdicts["C6"] == "contradicted, on this machine"


def test_a_dry_run_counts_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "small.yaml", TIMING)
    code, out, _ = command("run", "small.yaml", "--dry-run")
    assert code == 0 and "not tested" in out and not (tmp_path / "results").exists()


def test_an_idea_of_ones_own_is_counted(tmp_path):
    path = write(tmp_path / "small.yaml", COST)
    idea = ["--arm", "{gated: {methods: [gated_kernels], depthwise: static}}"]
    plugin = ["--plugin", str(ROOT / "examples" / "gated_kernels.py")]
    code, _, err = command("run", path, "--results", str(tmp_path), *plugin, *idea)
    assert code == 0, err
    result = json.loads((tmp_path / "small" / "result.json").read_text())
    assert "gated" in {r["arm"] for r in result["rows"]}
    for wrong, said in (
        (["--arm", "{can: {methods: []}}"], "--arm: the study already has an arm 'can'"),
        (["--arm", "{new: {methods: [cann]}}"], "unknown method 'cann' (did you mean 'can'?)"),
        (
            ["--seeds", "3"],
            "--seeds: a study of kind 'cost' trains nothing; its options: --dry-run",
        ),
    ):
        code, _, err = command("run", path, "--results", str(tmp_path), *wrong)
        assert code == 2 and err.count("\n") == 1 and said in err, err


# fmt: off
UNTESTABLE = {  # edits of TIMING, and where the error is
    "id": Invalid("id: C7", "id: C8", 15, "claims.2.id"),
    "over": Invalid(
        'over: "tiny/4:static", metric: step', 'over: "tiny/4:tokens", metric: step',
        15, "claims.2.over",
    ),
    "layer": Invalid(
        'of: "dw:loop", over: "dw:static"', 'of: "dw:static", over: "dw:loop"', 16, "claims.3.over",
    ),
    "batch": Invalid(
        'of: "tiny/4:can", over: "tiny/4:static", metric: step',
        'of: "tiny/2:can", over: "tiny/2:static", metric: step',
        15, "claims.2.of",
    ),
    "baseline": Invalid(
        "static: {methods: [native], ", "static: {on: [dit], methods: [native], ",
        9, "arms.static.on",
    ),
    "on": Invalid("on: [dit]}", "on: [dti]}", 11, "arms.tokens.on.0"),
    "match": Invalid(
        "tokens: {", "tokens: {match: {params_of: x, by: rank}, ",
        11, "arms.tokens.match.params_of",
    ),
    "rounds": Invalid("rounds: 6", "rounds: 5", 19, "rounds"),
}
INVALID = {  # edits of COST
    "backbone": Invalid("backbone: uvit,", "backbone: uvti,", 6, "models.tiny/2.backbone"),
    "preset": Invalid("micro, patch: 4", "mikro, patch: 4", 5, "models.tiny/4.preset"),
    "patch": Invalid("patch: 4", "patch: 3", 5, "models.tiny/4.patch"),
    "baseline": Invalid("baseline: static", "baseline: statik", 7, "baseline"),
    "claim": Invalid("tiny/4:can", "tiny/4:cann", 13, "claims.0.of"),
    "metric": Invalid("metric: macs", "metric: step", 13, "claims.0.metric"),
    "limit": Invalid(", most: 1.0", "", 13, "claims.0"),
    "method": Invalid("{can: {sites: [attn_out]}}", "{cann: {}}", 10, "arms.can.methods.1"),
    "key": Invalid("question:", "qestion: x\nquestion:", 3, "qestion"),
}
# fmt: on


CASES = [(TIMING, case) for case in UNTESTABLE.values()]
CASES += [(COST, case) for case in INVALID.values()]


@pytest.mark.parametrize(("text", "case"), CASES, ids=[*UNTESTABLE, *INVALID])
def test_invalid_studies_are_refused_before_anything_is_timed(tmp_path, text, case):
    path = write(tmp_path / "small.yaml", edited(text, case))
    code, out, err = command("run", path, "--results", str(tmp_path))
    assert code == 2 and err.count("\n") == 1, err
    assert err.startswith(f"cabench: {path}:{case.line}: {case.key}: "), err
    assert "timing tiny" not in out


def test_models_may_have_a_colon(tmp_path):
    path = write(tmp_path / "small.yaml", COST.replace("tiny/4", "tiny:4"))
    assert command("run", path, "--results", str(tmp_path))[0] == 0


@pytest.mark.parametrize(
    "layer",
    [
        Layer(kind="depthwise", inputs=8, grid=(3, 4), batch=5),
        Layer(kind="linear", inputs=8, outputs=6, grid=(2, 2), batch=5),
    ],
)
def test_forms_that_are_timed_do_the_same(layer):
    work = layer_of(layer)
    for fused, loop in zip(work["fused"](), work["loop"](), strict=True):
        torch.testing.assert_close(fused, loop, rtol=1e-5, atol=1e-6)
    assert work["static"]()[0].shape == work["fused"]()[0].shape


def test_an_interval_covers_at_least_95_percent():
    for n in range(6, 31):
        result = ratio(np.arange(1.0, n + 1), np.ones(n))
        outside = int(result.low) - 1  # of the n ordered values, at each end
        assert 1 - 2 * binom.cdf(outside, n, 0.5) >= 0.95, n


def test_an_interval_holds_the_median_as_often_as_it_says():
    """Order statistics by simulation: at least 95 % of intervals hold the true median, 1."""
    g = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        actual = ratio(np.exp(g.standard_normal(15)), np.ones(15))
        held += actual.low <= 1 <= actual.high
    assert held / 400 >= 0.94


def test_rounds_alternate():
    order = []
    alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3)
    assert order == list("aabb" + "ab" + "ba" + "ab")


def test_rounds_go_on_for_the_seconds_asked_but_not_for_ever():
    spent = alternate({"a": lambda: None}, rounds=3, seconds=3600)
    assert len(spent["a"]) == 10 * 3


@pytest.mark.parametrize(
    ("limit", "low", "high", "word"),
    [
        ({"most": 1.1}, 1.0, 1.05, "supported"),
        ({"most": 1.1}, 1.2, 1.3, "contradicted"),
        ({"most": 1.1}, 1.0, 1.2, "unresolved"),
        ({"least": 5}, 6, 7, "supported"),
        ({"least": 5}, 3, 4, "contradicted"),
        ({"least": 5}, 4, 6, "unresolved"),
    ],
)
def test_a_measured_claim_goes_by_its_interval(limit, low, high, word):
    claim = Claim(id="C", says="s", of="m:a", over="m:b", metric="step", **limit)
    actual = verdict(claim, [], {("step", ("m", "a"), ("m", "b")): Ratio(low, low, high, 9)})
    assert actual["verdict"].startswith(word)
    assert verdict(claim, [], {})["verdict"] == "not tested"


def test_committed_studies_read(tmp_path):
    kinds = {p.stem: kind_of(p) for p in (ROOT / "studies").glob("*.yaml")}
    assert kinds["cost"] == "cost" and kinds["kernel_fusion"] == "timing"
    assert kinds["layer_placement"] == "train"
    assert kinds["throughput"] == "timing"
    for name in ("cost", "kernel_fusion", "throughput"):
        assert read_cost_study(ROOT / "studies" / f"{name}.yaml").study.study == name
    text = (ROOT / "studies" / "kernel_fusion.yaml").read_text()
    path = write(tmp_path / "wrong.yaml", text.replace("kind: timing", "kind: cost"))
    with pytest.raises(CabenchError, match=":[0-9]+: layers: "):
        read_cost_study(path)
