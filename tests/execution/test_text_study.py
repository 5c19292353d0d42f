"""Text as a condition from the study to the record, on emoji, with a CLIP of random weights."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from specs import method, model_spec, write
from tiny_clip import WIDTH, save_clip

from cabench.analysis.grids import sample_grids
from cabench.analysis.outputs import write_outputs
from cabench.config.study import read_scale, read_study
from cabench.cost import macs
from cabench.errors import CabenchError, ConfigError
from cabench.evidence.results import Results
from cabench.execution.grids import PROMPTS, halved_to_fit
from cabench.execution.trial import run_trial
from cabench.models.model import build_initialised
from cabench.planning.trials import manifest, plan
from cabench.records.runs import Run
from cabench.records.sample_grid import LIMIT
from cabench.records.store import Store
from cabench.registry import BACKBONES
from cabench.report.report import write_report

pytestmark = pytest.mark.slow

STUDY = """
study: words
question: Does it run?
needs: [text]
backbones: [uvit, dit, cat]
primary: kid
baseline: native
arms:
  native: {methods: [native], depthwise: static}
  can: {methods: [can, {cross_attention: {source: text}}]}
  kernels: {methods: [{text_kernels: {source: text}}]}
"""
SCALE = """
scale: words
data:
  - {streams: [label], source: digits}
  - streams: [text, label, style]
    source: emoji
    options: {split: both}
    text: {encoder: clip, path: CLIP}
    patch: 8
    training: {images: 64, snapshot_every: 64}
    sampling: {n: 100}
    heldout: {images: 20}
    metrics: [kid, style_accuracy, clip_score, heldout_loss]
    unseen: 100
backbones:
  dit: {preset: micro, patch: 4}
  uvit: {preset: micro, patch: 4}
  cat: {preset: micro, patch: 4}
training: {images: 192, batch: 32, lr: 2.0e-3, warmup: 64, ema_half_life: 64, snapshot_every: 96}
diffusion: {prediction: flow}
sampling: {steps: 2, n: 110, batch: 40, sweep: {guidance: [2.0], seeds: 1}}
metrics: [kid, condition_accuracy, heldout_loss]
heldout: {images: 40, bins: 4}
seeds: 1
clip: {path: CLIP}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("words")
    clip = save_clip(root / "clip")
    write(root / "words.yaml", STUDY)
    write(root / "scale.yaml", SCALE.replace("CLIP", str(clip)))
    return root


def planned(folder, backbone=None, **changes):
    text = (folder / "scale.yaml").read_text()
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    path = write(folder / "changed.yaml", text)
    return plan(read_study(folder / "words.yaml", backbone=backbone), read_scale(str(path)))


@pytest.fixture(scope="module")
def run(folder):
    """Each backbone and each arm at least once: plan and records."""
    store = Store(folder / "results", folder / "cache")
    runs = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    arms = {"uvit": ["native", "can"], "dit": ["can"], "cat": ["native", "kernels"]}
    for backbone, chosen in arms.items():
        study_plan = planned(folder, backbone)
        trials = [t for t in study_plan.trials if t.arm in chosen]
        runs[backbone] = study_plan, {t.arm: run_trial(t, store) for t in trials}
    torch.set_num_threads(threads)
    return store, runs


def test_the_whole_path_runs_on_every_backbone(run):
    for backbone, (_, records) in run[1].items():
        for arm, record in records.items():
            assert record.complete, (backbone, arm, record.error)
            measured = record.metrics
            for name in ("kid", "style_accuracy", "clip_score"):
                assert {name, f"{name}/g2", f"{name}/unseen"} <= set(measured)
                assert {name, f"{name}/unseen"} <= set(record.protocol.floor)
            assert "heldout_loss/unseen" in measured
            assert len(json.dumps(record.dump())) < 20_000
            assert all(np.isfinite(value) for value in measured.values())


def test_text_features_reach_the_model(run, folder):
    """Other texts, other predictions; and the source `both` is timestep and text."""
    study_plan, _ = run[1]["uvit"]
    for arm, resolved in study_plan.models.items():
        spec = resolved.spec.dump()
        assert spec["embedder"]["text"] == {"text": WIDTH} and spec["embedder"]["classes"] == {}
        model = build_initialised(resolved.spec, 0)
        with torch.no_grad():  # what starts at zero would tell nothing
            for p in model.parameters():
                p.add_(torch.randn_like(p, generator=None) * 0.05)
        x, t = torch.randn(2, 3, 32, 32), torch.tensor([500.0, 500.0])
        features = torch.randn(1, 9, WIDTH).expand(2, -1, -1).clone()
        mask = torch.ones(2, 9, dtype=torch.bool)
        mask[:, 6:] = False
        x[1] = x[0]
        same = model(x, t, {"text": (features, mask)})
        assert torch.allclose(same[0], same[1], atol=1e-5), arm
        features[1, 7] += 1  # padding
        padded = model(x, t, {"text": (features, mask)})
        assert torch.allclose(padded[0], padded[1], atol=1e-5), arm
        features[1, 2] += 1
        other = model(x, t, {"text": (features, mask)})
        assert not torch.allclose(other[0], other[1], atol=1e-4), arm
        drop = torch.tensor([True, True])
        null = model(x, t, {"text": (features, mask)}, drop)
        assert torch.allclose(null[0], null[1], atol=1e-5), arm
    assert study_plan.models["native"].spec.methods[0].options["source"] == ["timestep", "text"]


def test_keys_hold_the_encoder_and_labels_know_nothing_of_it(run, folder):
    study_plan, records = run[1]["uvit"]
    spec = records["can"].spec
    assert spec.train.text.fingerprint == study_plan.data.text.fingerprint
    assert spec.train.text.tokens == study_plan.data.text.tokens <= 77
    assert spec.images == 64 and spec.sample.n == 100
    assert spec.score.clip.template is None
    other = save_clip(folder / "other", seed=3)
    changed = planned(folder, clip=(str(folder / "clip"), str(other)))
    assert changed.trials[0].spec.train_key != study_plan.trials[0].spec.train_key
    study = write(
        folder / "labels.yaml",
        STUDY.replace("needs: [text]", "needs: [label]").replace(
            "{source: text}", "{source: label}"
        ),
    )
    scale = (folder / "scale.yaml").read_text().replace("clip: {path", "# {path")
    write(
        folder / "plain.yaml",
        scale.replace("metrics: [kid, style_accuracy, clip_score, h", "metrics: [kid, h"),
    )
    labels = plan(read_study(study), read_scale(str(folder / "plain.yaml")))
    spec = labels.trials[0].spec.dump()
    assert "text" not in spec["train"] and "text_tokens" not in spec["train"]["model"]
    embedder = {"version", "width", "normalise", "spread", "classes"}
    assert set(spec["train"]["model"]["embedder"]) == embedder
    assert set(spec["score"]) == {"judge", "metrics", "heldout", "probe", "cost"}
    assert (
        labels.trials[0].places.text is labels.trials[0].places.clip is None
        and spec["sample"]["n"] == 110
    )


def test_the_same_trial_again_has_the_same_bits(run, folder, tmp_path):
    study_plan, records = run[1]["dit"]
    shutil.copytree(folder / "cache" / "judge", tmp_path / "cache" / "judge")  # of real images
    trial = next(t for t in study_plan.trials if t.arm == "can")
    again = run_trial(trial, Store(tmp_path / "results", tmp_path / "cache"))
    for part in ("spec", "metrics", "cost"):
        assert getattr(again, part) == getattr(records["can"], part)


def test_the_sample_grid_shows_prompts_below_their_samples(run):
    store, runs = run
    study_plan, records = runs["uvit"]
    layout = records["can"].protocol.sheet.dump()
    assert len(layout["prompts"]) == sum(PROMPTS.values()) == layout["columns"]
    assert layout["unseen"].count(True) == PROMPTS["unseen"] and layout["rows"] == 2
    assert any("style" in prompt for prompt in layout["prompts"])
    grids = sample_grids(Results.of(Run(manifest(study_plan), store)), store)
    assert list(grids.columns) == layout["prompts"]
    from cabench.data import load_dataset

    report = load_dataset("emoji", split="both").split("report")
    row = report.texts["text"].index(layout["prompts"][0])
    assert np.array_equal(grids.real[0, 0], report.images[row])
    path = store.beside(study_plan.trials[0].key, ".png")
    assert Image.open(path).size == (16 * 32, 2 * 32)


def test_the_grid_and_the_report_show_the_prompts(run, tmp_path):
    store, runs = run
    study_plan, _ = runs["uvit"]
    planned = Run(manifest(study_plan), store)
    paths = write_outputs(Results.of(planned), store)
    image = Image.open(next(p for p in paths if p.name == "samples.png"))
    blocks = 1 + len(study_plan.arms)
    assert image.height > 2 * blocks * 112 and image.width > 8 * 112
    text = next(p for p in paths if p.name == "table.md").read_text()
    assert "(unseen)" in text and "CLIP score" in text
    pdf = write_report(planned, tmp_path)[0]
    import pypdfium2

    pages = [page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(str(pdf))]
    assert any("same prompt and noise" in " ".join(page.split()) for page in pages)


def test_style_is_a_stream_of_its_own(run, folder):
    """Label and style, without text; in a study of style alone `both` includes the style."""
    arms = "{can: {methods: [{adaln_zero: {source: both}}, {can: {source: style}}]}}"
    content = f"""
    study: styles
    question: Does it run?
    needs: [label, style]
    primary: kid
    baseline: can
    arms: {arms}
    """
    study = write(folder / "styles.yaml", content)
    study_plan = plan(read_study(study), read_scale(str(folder / "scale.yaml")))
    spec = study_plan.trials[0].spec.train.dump()
    assert spec["model"]["embedder"]["classes"] == {"label": 9, "style": 3}
    assert "text" not in spec and "text" not in spec["model"]["embedder"]
    sources = [m["options"]["source"] for m in spec["model"]["methods"]]
    assert sources == [["timestep", "label"], ["style"]]
    torch.set_num_threads(1)
    record = run_trial(study_plan.trials[0], run[0])
    assert record.complete, record.error
    assert 0 <= record.metrics["style_accuracy/unseen"] <= 1
    assert record.protocol.floor["style_accuracy"] > 0.5
    alone = write(folder / "alone.yaml", content.replace("[label, style]", "[style]"))
    models = plan(read_study(alone), read_scale(str(folder / "scale.yaml"))).models
    assert models["can"].spec.methods[0].options["source"] == ["timestep", "style"]


def test_large_images_are_shrunk_to_a_sample_grid():
    images = np.full((8, 3, 128, 128), 7, np.uint8)
    small = halved_to_fit(images)
    assert small.nbytes <= LIMIT and (small == 7).all() and small.shape[1] == 3


@pytest.mark.parametrize("backbone", ["dit", "uvit", "cat"])
@pytest.mark.parametrize(
    "names",
    [
        ["can"],
        ["cross_attention"],
        ["joint_attention"],
        ["text_kernels"],
        ["adaln"],
        ["lora"],
        ["tokens"],
        ["film", "can"],
    ],
)
def test_both_counters_agree_on_text(backbone, names):
    kind = BACKBONES.get(backbone)
    if any(hook not in kind.hooks for n in names for hook in _hooks(n)):
        pytest.skip("no such hook")
    spec = model_spec(
        [method(n, ["timestep", "text"]) for n in names],
        backbone=backbone,
        affine=names != ["adaln"],
        classes={},
        text={"text": 12},
        text_tokens=9,
    )
    counted = macs.fvcore_macs(spec)
    assert counted == macs.meta_macs(spec) and counted.conditioning > 0
    longer = macs.meta_macs(spec.model_copy(update={"text_tokens": 10}))
    assert longer.total > counted.total


def test_a_step_of_a_text_model_can_be_timed():
    from cabench.cost.timing import step_of

    spec = model_spec(
        [method("tokens", ["timestep", "text"]), method("can", ["label", "text"])],
        backbone="uvit",
        affine=True,
        text={"text": 12},
        text_tokens=9,
    )
    assert torch.isfinite(step_of(spec, 4)())


def _hooks(name):
    from cabench.registry import METHODS

    return METHODS.get(name).hooks


def test_what_is_wrong_is_said_in_a_line(folder, tmp_path):
    clip = str(folder / "clip")
    for changes, said in (
        (
            {"a": (f"text: {{encoder: clip, path: {clip}}}", "text: {encoder: clop}")},
            "data.1.text.encoder: unknown text encoder 'clop' (did you mean 'clip'?)",
        ),
        (
            {"a": (f"    text: {{encoder: clip, path: {clip}}}\n", "")},
            "data.1: stream 'text' needs an encoder: text: {encoder: NAME}; known: clip, minilm",
        ),
        (
            {"a": (f"encoder: clip, path: {clip}", f"encoder: clip, path: {clip}, width: 5")},
            "data.1.text.width: ",
        ),
        ({"a": ("patch: 8", "patch: 7")}, "data.1.patch: patch 7 does not divide"),
        ({"a": ("unseen: 100", "unseen: 1000")}, "data.1.unseen: split 'unseen': 1000 samples"),
        ({"a": ("split: both", "split: cluster")}, "data.1.unseen: unknown split 'unseen'"),
        (
            {"a": ("sampling: {n: 100}", "sampling: {n: 900}")},
            "data.1.sampling.n: expected at most",
        ),
        ({"a": ("sampling: {n: 100}", "sampling: {m: 900}")}, "data.1.sampling.m: unknown key"),
        ({"a": ("heldout: {images: 20}", "heldout: {images: 2}")}, "data.1.heldout: "),
        (
            {"a": ("metrics: [kid, style", "metrics: [kit, style")},
            "data.1.metrics.0: unknown metric 'kit'",
        ),
        ({"a": (f"\nclip: {{path: {clip}}}", "")}, "metrics: clip_score needs a CLIP"),
        (
            {"a": (f"\nclip: {{path: {clip}}}", f"\nclip: {{path: {clip}, template: photo}}")},
            "clip: template: ",
        ),
        (
            {"a": ("source: emoji\n    options: {split: both}", "source: digits")},
            "data.1.streams: data 'digits' has no text for the stream 'text'",
        ),
    ):
        with pytest.raises(CabenchError) as error:
            planned(folder, **changes)
        assert said in str(error.value) and "\n" not in str(error.value)


def test_an_absent_encoder_stops_a_run_and_not_a_look_ahead(folder):
    clip = str(folder / "clip")
    study_plan = planned(
        folder, a=(f"encoder: clip, path: {clip}", "encoder: clip, path: /no, width: 9")
    )
    assert "no such folder: /no" in str(study_plan.data.missing) and study_plan.data.text.width == 9
    assert study_plan.models["can"].spec.embedder.text == {"text": 9}
    with pytest.raises(ConfigError, match=r"data\.1\.text: .*no such folder: /no"):
        planned(folder, a=(f"encoder: clip, path: {clip}", "encoder: clip, path: /no"))
    absent = planned(folder, a=(f"\nclip: {{path: {clip}}}", "\nclip: {path: /no}"))
    assert "no such folder: /no" in str(absent.data.missing)


def test_the_studies_can_be_planned(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    for study, backbones in (("text_to_image", ["uvit", "cat"]), ("style_control", ["dit"])):
        for backbone in backbones:
            for scale in ("quick", "cpu"):
                study_plan = plan(
                    read_study(Path(f"studies/{study}.yaml"), backbone=backbone), read_scale(scale)
                )
                assert (
                    not study_plan.data.missing
                    and study_plan.file.study.baseline in study_plan.arms
                )
