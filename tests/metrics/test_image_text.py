"""The emoji image-text score and the CLIP score."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_clip import save_clip

from cabench.data import load_dataset
from cabench.errors import CabenchError, DataMissing
from cabench.metrics import SampleScorer, describe, image_text
from cabench.metrics.clip import Clip, wording
from cabench.metrics.extractors.lite0 import Lite0
from cabench.metrics.image_text import Heads, heads, retrieval
from cabench.text import encoder, sentences


@pytest.fixture(scope="module")
def emoji():
    return load_dataset("emoji", split="both")


@pytest.fixture(scope="module")
def real(emoji, tmp_path_factory):
    """Features and sentence embeddings of 240 images of 80 unseen concepts or more."""
    cache = tmp_path_factory.mktemp("image_text")
    unseen = emoji.split("unseen")
    chosen_codes = sorted(set(unseen.texts["hexcode"]))[:80]
    rows = [i for i, code in enumerate(unseen.texts["hexcode"]) if code in chosen_codes]
    texts = [unseen.texts["text"][i] for i in rows]
    features = Lite0(cache).features(unseen.images[rows])
    concept = np.unique([unseen.texts["hexcode"][i] for i in rows], return_inverse=True)[1]
    return features, sentences(encoder("minilm"), texts, cache), concept


def test_the_heads_find_concepts_they_never_saw(real):
    """By another computation than the score's; chance is 12.5 % of 80, and what is stored is less
    than what 80 concepts give, being of 286.
    """
    features, text_features, concept = real
    h = heads()
    x = np.hstack([features["1280"], features["112"]]).astype(float)
    a = (x - h.mean) / h.scale @ h.image
    prompts = np.stack([text_features[concept == k].mean(0) for k in range(80)]).astype(float)
    b = (prompts - h.text_mean) @ h.text
    cosine = np.array([[u @ v / np.linalg.norm(u) / np.linalg.norm(v) for v in b] for u in a])
    better = (cosine > cosine[np.arange(len(x)), concept][:, None]).sum(1)
    assert (better < 10).mean() > h.about["r10"] > 5 * 10 / h.about["concepts"]
    assert h.about["concepts"] == 286 and h.about["pictures"] == 805


def test_real_prompts_score_higher_than_others_and_corruption_lowers_the_score(real):
    features, text_features, _concept = real
    h = heads()
    own = h.score(features, text_features)
    shuffled = np.random.RandomState(0).permutation(len(text_features))
    assert own > h.score(features, text_features[shuffled]) + 5
    cosines = (h.images(features) * h.prompts(text_features)).sum(1)
    assert own == pytest.approx(100 * cosines.mean()) and abs(cosines).max() <= 1


def test_the_committed_file_is_small_and_says_how_it_was_made():
    assert image_text.FILE.stat().st_size < 1_000_000
    text_features = heads().about
    assert text_features["trained_on"].startswith("emoji judge-train: 811 pictures, 287 concepts")
    for name in ("image_text_score", "prompt_retrieval"):
        note = describe(name, 400)["note"]
        assert f"{100 * text_features['r10']:.1f} %" in note and "not a CLIP score" in note
        assert "CLIP" not in describe(name, 400)["label"]


def test_retrieval_by_hand():
    similar = np.array([[0.9, 0.1, 0.2], [0.5, 0.4, 0.3], [0.1, 0.1, 0.1]])
    right = np.array([0, 1, 2])
    assert retrieval(similar, right, 1) == pytest.approx(1 / 3)  # a tie is no find
    assert retrieval(similar, right, 2) == pytest.approx(2 / 3)
    assert retrieval(similar, right, 3) == 1


def test_heads_that_find_nothing_carry_no_verdict(monkeypatch, tiny):
    from specs import write

    from cabench.config.study import read_study
    from cabench.planning.references import check_study

    poor = Heads(**{**vars(heads()), "about": {**heads().about, "r10": 0.1}})
    text = (tiny / "tiny.yaml").read_text().replace("metric: kid", "metric: image_text_score")
    path = write(tiny / "claims.yaml", text)
    check_study(read_study(path).written)
    monkeypatch.setattr(image_text, "heads", lambda: poor)
    with pytest.raises(CabenchError, match=r"claims\.0\.metric: 'image_text_score': no claim"):
        check_study(read_study(path).written)


def test_other_data_and_corrupted_heads_are_refused(tmp_path):
    with pytest.raises(CabenchError, match="its heads are trained on emoji"):
        SampleScorer(load_dataset("digits"), 100, tmp_path, metrics=["image_text_score"])
    with pytest.raises(CabenchError, match="has no stream 'style'"):
        SampleScorer(load_dataset("digits"), 100, tmp_path, metrics=["style_accuracy"])
    (tmp_path / "no.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataMissing, match="doesn't read"):
        heads(tmp_path / "no.safetensors")


def test_the_script_finds_the_same_heads_twice(tmp_path):
    """On random features: a seed fixes every bit."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
    try:
        from train_image_text import fit, recall
    finally:
        sys.path.pop(0)
    torch.set_num_threads(1)
    g = np.random.RandomState(0)
    concept = np.repeat(np.arange(40), 3)
    key = g.randn(40, 384).astype(np.float32)[concept]
    x = (key @ g.randn(384, 1392).astype(np.float32))[None] / 20
    x = x + 0.5 * g.randn(2, *x.shape[1:]).astype(np.float32)
    t = np.stack([key, key + 0.1 * g.randn(*key.shape).astype(np.float32)])
    one, two = (fit(x, t, concept, 0, steps=60) for _ in range(2))
    assert np.array_equal(one.image, two.image) and np.array_equal(one.text, two.text)
    assert recall(one, x[0], t[0], concept)[0] > 0.9
    assert not np.array_equal(one.image, fit(x, t, concept, 1, steps=60).image)


# ---- CLIP score ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip_score") / "clip")


def plain_score(folder, images, prompts):
    """One pair at a time, through transformers' processor and float64 cosines."""
    from transformers import CLIPModel, CLIPProcessor

    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    model.eval()
    cosines = []
    for image, prompt in zip(images, prompts, strict=True):
        pil_image = Image.fromarray(image.transpose(1, 2, 0).squeeze())
        text_features = processor(
            text=[prompt],
            images=pil_image.convert("RGB"),
            return_tensors="pt",
            truncation=True,
            max_length=77,
        )
        with torch.no_grad():
            text = model.text_model(
                text_features["input_ids"], text_features["attention_mask"]
            ).pooler_output
            seen = model.vision_model(text_features["pixel_values"]).pooler_output
            a = model.text_projection(text)[0].double()
            b = model.visual_projection(seen)[0].double()
        cosines.append((a @ b / a.norm() / b.norm()).item())
    return 100 * np.mean(cosines)


@pytest.mark.parametrize("shape", [(3, 40, 40), (1, 16, 16), (3, 32, 48)])
def test_clip_score_is_the_plain_computation(clip_folder, shape):
    g = np.random.RandomState(0)
    images = g.randint(0, 256, (37, *shape)).astype(np.uint8)
    prompts = [f"a photo of a {'cat' * (i % 5)} {i}" for i in range(36)] + ["long " * 90]
    actual = Clip(str(clip_folder)).score(images, prompts)
    assert actual == pytest.approx(plain_score(clip_folder, images, prompts), abs=1e-3)
    assert actual != pytest.approx(plain_score(clip_folder, images, prompts[::-1]), abs=1e-3)


def test_prompts_are_class_names_in_a_template_or_the_texts(clip_folder, emoji, tmp_path):
    clip = Clip(str(clip_folder))
    digits = SampleScorer(load_dataset("digits"), 100, tmp_path, metrics=["clip_score"], clip=clip)
    assert digits.clip_prompts[0] == f"a photo of a {digits.labels[0]}"
    assert digits.protocol["clip"]["prompts"] == "a photo of a {}"
    assert digits.protocol["clip"]["weights"] == clip.fingerprint
    texts = SampleScorer(emoji, 100, tmp_path, metrics=["clip_score"], clip=clip)
    report = emoji.split("report")
    assert texts.clip_prompts == [report.texts["text"][row] for row in texts.rows]
    named = SampleScorer(
        emoji, 100, tmp_path, metrics=["clip_score"], clip=Clip(str(clip_folder), "the {} group")
    )
    assert named.clip_prompts[:2] == wording(
        "the {} group", emoji.classes["label"], named.labels[:2]
    )
    assert "the smileys emotion group" in named.clip_prompts


def test_a_clip_without_preprocessor_is_refused_in_a_line(clip_folder, tmp_path):
    bare = shutil.copytree(clip_folder, tmp_path / "bare")
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(DataMissing, match="preprocessor_config.json doesn't read"):
        Clip(str(bare)).score(np.zeros((1, 3, 8, 8), np.uint8), ["a"])


def test_importing_metrics_loads_no_transformers():
    code = (
        "import sys, json, cabench.metrics, cabench.text; heavy = {'torch', 'transformers', "
        "'tokenizers'}; print(json.dumps(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
