"""Studies: what they mean, what their keys hold, and how wrong ones are refused."""

import copy
import dataclasses
import re
from pathlib import Path

import pytest
from specs import ROOT, write

from cabench.config.cost_study import kind_of
from cabench.config.study import read_scale, read_study, scale_names
from cabench.cost.macs import parameter_counts
from cabench.errors import CabenchError
from cabench.planning.trials import Trial, manifest, plan
from cabench.records.schema import read_manifest
from cabench.report.methods_section import command

STUDY = ROOT / "studies" / "layer_placement.yaml"


@pytest.fixture(scope="module")
def placement():
    return plan(read_study(STUDY), read_scale("quick"), all_arms=True)


def test_layer_placement_has_both_ladders_and_its_controls(placement):
    models = placement.models
    assert len(models) == 15 and placement.file.study.baseline == "native+dw"
    assert [m["kind"] for m in models["native+can-3"]["methods"]] == ["adaln_zero", "can"]
    assert [m["kind"] for m in models["can-3"]["methods"]] == ["can"]
    for name, model in models.items():
        modulated = any(m["kind"] == "adaln_zero" for m in model["methods"])
        assert model["backbone"]["norm_affine"] is not modulated, name
        assert model["backbone"]["depthwise"] is (name != "native"), name
    core = plan(placement.file, placement.scale)
    assert len(core.arms) == 10 and len(core.trials) == 30


def test_matched_arms_have_the_parameters_they_claim(placement):
    counts = {n: parameter_counts(m)["total"] for n, m in placement.models.items()}
    assert counts["can-3-matched"] == pytest.approx(counts["native+dw"], rel=0.025)
    assert counts["native+dw-wide"] == pytest.approx(counts["native+can-3"], rel=0.005)
    rank = placement.models["can-3-matched"]["methods"][0]["options"]["rank"]
    more, fewer = (copy.deepcopy(placement.models["can-3-matched"]) for _ in range(2))
    more["methods"][0]["options"]["rank"] = rank + 1
    fewer["methods"][0]["options"]["rank"] = rank - 1
    off = abs(counts["can-3-matched"] - counts["native+dw"])
    for other in (more, fewer):  # the nearest whole rank
        assert abs(parameter_counts(other)["total"] - counts["native+dw"]) >= off


def test_arms_of_one_seed_differ_in_nothing_but_the_model(placement):
    for trial in placement.trials:
        first = next(t for t in placement.trials if t.seed == trial.seed)
        ours, theirs = copy.deepcopy(trial.spec), copy.deepcopy(first.spec)
        ours["train"]["model"] = theirs["train"]["model"] = None
        assert ours == theirs


def changed(trial: Trial, **parts) -> Trial:
    spec = copy.deepcopy(trial.spec)
    for path, value in parts.items():
        *folders, last = path.split("__")
        inner = spec
        for folder in folders:
            inner = inner[folder]
        inner[last] = value
    return dataclasses.replace(trial, spec=spec)


def on_all(tiny, study="tiny.yaml", **edits):
    """The tiny study with all backbones in study and scale."""
    text = (tiny / study).read_text()
    for old, new in edits.items():
        text = text.replace(old, new)
    write(tiny / "all.yaml", text.replace("baseline:", "backbones: [dit, uvit, cat]\nbaseline:", 1))
    small = "{preset: micro, patch: 4}"
    scale = (tiny / "scale.yaml").read_text()
    write(
        tiny / "scales.yaml",
        scale.replace("backbones:\n", f"backbones:\n  uvit: {small}\n  cat: {small}\n"),
    )
    return tiny / "all.yaml", read_scale("scales.yaml")


def test_the_native_embedder_is_the_published_one(tiny):
    path, scale = on_all(tiny, question="embedder: native\nquestion")
    embedders = {
        name: plan(read_study(path, backbone=name), scale).models["can-3"]["embedder"]
        for name in ("dit", "uvit")
    }
    assert {name: e["normalise"] for name, e in embedders.items()} == {"dit": False, "uvit": False}
    assert {name: e.get("timestep") for name, e in embedders.items()} == {
        "dit": None,
        "uvit": "sinusoid",
    }
    shared = plan(read_study(tiny / "tiny.yaml"), scale).models["can-3"]["embedder"]
    assert shared["normalise"] is True


def test_a_study_runs_on_each_of_its_backbones(tiny):
    path, scale = on_all(tiny)
    plans = {
        name: plan(read_study(path, backbone=name), scale, all_arms=True)
        for name in ("dit", "uvit", "cat")
    }
    assert {n: p.file.study.study for n, p in plans.items()} == {
        "dit": "tiny",
        "uvit": "tiny-uvit",
        "cat": "tiny-cat",
    }
    native = {n: p.models["native+dw"]["methods"][0]["kind"] for n, p in plans.items()}
    assert native == {"dit": "adaln_zero", "uvit": "tokens", "cat": "adaln"}
    assert all(p.models["native+dw"]["backbone"]["kind"] == n for n, p in plans.items())
    assert len({t.key for p in plans.values() for t in p.trials}) == 3 * 6
    again = {
        n: command(read_manifest(manifest(p), Path("m"))) for n, p in plans.items()
    }  # what the report prints
    assert "--backbone" not in again["dit"] and "--backbone cat" in again["cat"]
    with pytest.raises(CabenchError, match="--backbone: unknown backbone of the study 'vit'.*dit"):
        read_study(path, backbone="vit")


def test_arms_for_some_backbones_and_their_claims_are_left_out_elsewhere(tiny):
    path, _scale = on_all(tiny)
    text = path.read_text().replace("can-3: {", "can-3: {on: [dit, cat], ")
    write(path, text)
    assert list(read_study(path, backbone="uvit").study.arms) == ["native+dw", "can-all"]
    assert read_study(path, backbone="uvit").study.claims == []
    assert len(read_study(path, backbone="cat").study.claims) == 1
    write(path, text.replace("[dit, cat]", "[dit, vit]"))
    with pytest.raises(CabenchError, match=r":7: arms.can-3.on.1: unknown backbone .*'vit'"):
        read_study(path)
    write(path, text.replace("native+dw: {", "native+dw: {on: [dit], "))
    with pytest.raises(CabenchError, match="arms.native.dw.on: 'baseline' needs it on every"):
        read_study(path)


UNFIT = {
    "tokens on cat": (
        "cat",
        "tokens",
        "'tokens': unknown cat hook 'tokens'.*; allowed: norm, context, ffn",
    ),
    "a late start": (
        "uvit",
        "{tokens: {start: 3}}",
        "tokens: start: expected a block from 0 to 2, got 3",
    ),
    "lora of kernels": ("dit", "{lora: {sites: [depthwise]}}", "sites.0: should be .*attn_qkv"),
    "too many experts": (
        "dit",
        "{moe: {experts: 2, top: 3}}",
        "top: expected at most 2 experts, got 3",
    ),
    "told the label": (
        "dit",
        "{timestep_mixture: {source: label}}",
        "source.* should be 'timestep'",
    ),
    "a site of cat": ("dit", "{can: {sites: [agg]}}", "unknown dit site 'agg'"),
    "two contexts": ("dit", "cross_attention, cross_attention", "both want the hook 'context'"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_methods_that_do_not_fit_are_refused_with_the_reason(tiny, case):
    backbone, methods, said = UNFIT[case]
    path, scale = on_all(tiny)
    wrong = f"{{methods: [{methods}], extra: true}}"
    write(path, path.read_text().replace("{methods: [{can: {sites: all}}], extra: true}", wrong))
    with pytest.raises(CabenchError, match=r"all\.yaml:8: arms.can-all") as error:
        plan(read_study(path, backbone=backbone), scale, all_arms=True)
    assert re.search(said, str(error.value)), str(error.value)


def test_every_committed_study_can_be_planned_on_each_backbone_at_quick():
    for path in sorted((ROOT / "studies").glob("*.yaml")):
        if kind_of(path) != "train":
            continue
        for backbone in read_study(path).study.backbones:
            assert plan(read_study(path, backbone=backbone), read_scale("quick"), all_arms=True)


def test_chosen_kernels_are_part_of_the_key_and_checked(tiny_plan, monkeypatch):
    def key():
        return plan(tiny_plan.file, tiny_plan.scale).trials[0].train_key

    before = key()
    monkeypatch.setenv("CABENCH_KERNELS", "depthwise=loop")
    assert key() != before
    monkeypatch.setenv("CABENCH_KERNELS", "depthwise=lop")
    with pytest.raises(CabenchError, match="CABENCH_KERNELS: depthwise: .*got 'lop' .*'loop'"):
        key()


def test_keys_are_nested(placement):
    trial = placement.trials[0]
    longer = changed(trial, images=99_999)
    assert longer.train_key == trial.train_key and longer.key != trial.key
    resampled = changed(trial, sample__steps=7)
    assert resampled.train_key == trial.train_key
    assert resampled.sample_key(1.0) != trial.sample_key(1.0)
    rescored = changed(trial, score__judge="another")
    assert rescored.sample_key(1.0) == trial.sample_key(1.0) and rescored.key != trial.key
    for path in ("train__seed", "train__init_salt", "train__recipe", "train__data__fingerprint"):
        assert changed(trial, **{path: "other"}).train_key != trial.train_key, path
    assert dataclasses.replace(trial, arm="renamed").key == trial.key
    assert dataclasses.replace(trial, snapshots={}).key == trial.key


def test_the_manifest_says_what_was_asked(placement):
    told = manifest(placement)
    assert {t["key"] for t in told["trials"]} == {t.key for t in placement.trials}
    assert told["metrics"]["kid"]["label"] == "KID-lite0@2000"
    assert next(a for a in told["arms"] if a["name"] == "unconditional")["bound"]


@pytest.mark.parametrize("scale", scale_names())
def test_every_scale_reads(scale):
    assert read_scale(scale).scale == scale


# Each edit of a sound study, and what its one line must say.
WRONG = {
    "unknown key": (
        "baseline: native+dw",
        "basline: native+dw",
        r":3: basline: unknown key \(did you mean 'baseline'",
    ),
    "missing": ("question: Does it run?\n", "", r"question: this key is missing"),
    "no such arm": (
        "baseline: native+dw",
        "baseline: nativ+dw",
        r":3: baseline: no arm 'nativ\+dw' \(did you mean 'native\+dw'",
    ),
    "method": (
        "[native], depth",
        "[nativ], depth",
        r":5: arms.native\+dw.methods.0: unknown method 'nativ' \(did you mean 'native'",
    ),
    "option": (
        "{sites: all}",
        "{site: all}",
        r":7: arms.can-all.methods.0.can.site: unknown key \(did you mean 'sites'",
    ),
    "site": ("patch_embed, attn_out", "patch_embd, attn_out", r":6: arms.can-3.*patch_embd"),
    "site it has not": (
        "patch_embed, attn_out",
        "skip, attn_out",
        r":6: .*unknown dit site 'skip'",
    ),
    "source": (
        "{sites: all}",
        "{sites: all, source: text}",
        r":7: .*no stream 'text'; allowed: both, timestep, label",
    ),
    "two modulators": (
        "[native], depth",
        "[native, adaln_zero], depth",
        r":5: .*both want the hook 'norm'",
    ),
    "claim's arm": ("than: native+dw", "than: native", r":9: claims.0.than: no arm 'native'"),
    "claim's metric": ("metric: kid", "metric: fid", r":9: claims.0.metric: unknown metric 'fid'"),
    "claim's test": (
        "superiority",
        "equivalence",
        r":9: claims.0.test: .*'superiority'.*found 'equivalence'",
    ),
    "needs": (
        "baseline:",
        "needs: [text]\nbaseline:",
        r":3: needs: scale 'tiny' has no data with text",
    ),
    "rank": (
        "{sites: all}",
        "{generator: bottleneck}",
        r":7: arms.can-all: a bottleneck needs a rank",
    ),
    "no site": ("{sites: all}", "{sites: []}", r":7: arms.can-all.*sites.*at least 1 item"),
    "rank of a linear": ("{sites: all}", "{rank: 3}", r":7: .*rank needs generator: bottleneck"),
    "no match": (
        "{methods: [native], depthwise: static}",
        "{methods: [native], match: {params_of: can-all, by: rank}}",
        r":5: .*no free size 'rank'",
    ),
    "itself": (
        "than: native+dw",
        "than: can-3",
        r":9: claims.0.than: 'can-3' is compared with itself",
    ),
    "a bound": (
        "depthwise: static}",
        "depthwise: static, bound: true}",
        r":9: claims.0.than: 'native\+dw' is a bound",
    ),
    "yaml": ("arms:", "arms: [", r"not valid YAML"),
    "an added arm's id": (
        "{id: C1",
        "{id: A12",
        r":9: claims.0.id: 'A12' is kept for an arm added with --arm",
    ),
    "twice": (
        "baseline: native+dw",
        "baseline: native+dw\nbaseline: can-3",
        r"not valid YAML.*duplicate key",
    ),
    "a list": ("study: tiny", "- study", r"(a study is a mapping|not valid YAML)"),
    "a dot": (
        "study: tiny",
        "study: ti.ny",
        r":1: study: the name of a study or scale .*holds no dot.*; found 'ti\.ny'$",
    ),
    "arm's name": ("can-all:", "../../evil:", r"\.\./\.\./evil"),
    "backbone": (
        "baseline:",
        "backbones: [vit]\nbaseline:",
        r":3: backbones.0: unknown backbone 'vit' \(did you mean 'uvit'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_studies_get_one_line(tiny, case):
    old, new, said = WRONG[case]
    text = (tiny / "tiny.yaml").read_text()
    assert old in text
    write(tiny / "wrong.yaml", text.replace(old, new))
    with pytest.raises(CabenchError, match=r"wrong\.yaml") as error:
        plan(read_study(tiny / "wrong.yaml"), read_scale("scale.yaml"), all_arms=True)
    assert "\n" not in str(error.value)
    assert re.search(said, str(error.value)), str(error.value)


def test_an_arms_name_may_have_dots(tiny):
    write(tiny / "dots.yaml", (tiny / "tiny.yaml").read_text().replace("can-3", "can-3.5"))
    assert "can-3.5" in read_study(tiny / "dots.yaml").study.arms


def test_too_many_parameters_are_refused(tiny):
    write(tiny / "small.yaml", (tiny / "scale.yaml").read_text() + "max_params: 60000\n")
    with pytest.raises(CabenchError, match="arms.can-3: .* parameters; scale 'tiny' allows 60,000"):
        plan(read_study(tiny / "tiny.yaml"), read_scale("small.yaml"))


def test_too_few_samples_are_refused(tiny):
    write(tiny / "few.yaml", (tiny / "scale.yaml").read_text().replace("n: 100", "n: 10"))
    with pytest.raises(CabenchError, match="sampling.n: kid: .* at least 100 samples, got 10"):
        plan(read_study(tiny / "tiny.yaml"), read_scale("few.yaml"))


WRONG_SCALES = {
    "infinite": ("lr: 2.0e-3", "lr: .inf", "training.lr: .*finite"),
    "bins": (
        "{images: 40, bins: 4}",
        "{images: 40, bins: 50}",
        "heldout: .*at least as many images",
    ),
    "steps": ("steps: 3", "steps: 1001", "sampling.steps: .*1000"),
    "a dot": (
        "scale: tiny",
        "scale: ti.ny",
        r":1: scale: the name of a study or scale .*holds no dot.*; found 'ti\.ny'$",
    ),
    "a packaged name": (
        "scale: tiny",
        "scale: quick",
        "scale: 'quick' is the name of a scale that",
    ),
    "more than there are": ("n: 100", "n: 5000", r":8: sampling.n: .*need"),
    "an option": (
        "source: digits",
        "source: digits, options: {size: 8}",
        r":3: data.0.options.size: unknown key; allowed: none",
    ),
    "a truth": (
        "source: digits",
        "source: folder, options: {path: x, size: 8, flip: no}",
        r":3: data.0.options.flip: should be true or false; found 'no'",
    ),
    "sampler": (
        "steps: 3",
        "sampler: ddim, steps: 3",
        r":8: sampling.sampler: 'ddim' can't follow flow",
    ),
    "patch": (
        "patch: 4",
        "patch: 3",
        r":5: backbones.dit.patch: patch 3 does not divide images of 8x8",
    ),
    "preset": (
        "preset: micro",
        "preset: mikro",
        r":5: backbones.dit.preset: unknown preset 'mikro' .did you mean 'micro'",
    ),
}


@pytest.mark.parametrize("case", WRONG_SCALES)
def test_wrong_scales_get_one_line(tiny, case):
    old, new, said = WRONG_SCALES[case]
    text = (tiny / "scale.yaml").read_text()
    assert old in text
    write(tiny / "wrong.yaml", text.replace(old, new))
    with pytest.raises(CabenchError, match=said) as error:
        plan(read_study(tiny / "tiny.yaml"), read_scale("wrong.yaml"))
    assert "\n" not in str(error.value)


def test_a_key_does_not_depend_on_the_order_of_seeds(placement):
    there, back = (
        {t.seed: t.key for t in plan(placement.file, placement.scale, seeds).trials}
        for seeds in ([0, 1], [1, 0])
    )
    assert there == back


def test_missing_files_name_the_near_match(tiny):
    with pytest.raises(CabenchError, match="no study file 'tin.yaml'.*tiny.yaml"):
        read_study(tiny.joinpath("tin.yaml").relative_to(tiny))
    with pytest.raises(CabenchError, match="unknown scale 'quik' .did you mean 'quick'"):
        read_scale("quik")
