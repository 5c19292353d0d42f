import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clip import WIDTH, save_clip

from cabench.errors import DataMissing
from cabench.text import TOKENS, encoder
from cabench.text.encoder import content_hash

TEXTS = ["a cat", "", "the red fox: animal, fast; noto style", "cat " * 100]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip") / "model")


def test_clip_text_features_are_the_librarys_one_text_at_a_time(clip_folder):
    from transformers import CLIPTextModel, CLIPTokenizerFast

    text_encoder = encoder("clip", str(clip_folder))
    model = CLIPTextModel.from_pretrained(clip_folder).eval()
    tokenizer = CLIPTokenizerFast.from_pretrained(clip_folder)
    actual = text_encoder.features(TEXTS)
    assert text_encoder.width == WIDTH
    for text, features in zip(TEXTS, actual, strict=True):
        tokens = tokenizer([text], truncation=True, max_length=77, return_tensors="pt")
        with torch.no_grad():
            expected = model(**tokens).last_hidden_state[0].numpy()
        assert features.shape == expected.shape and features.dtype == np.float32
        assert np.allclose(features, expected, atol=1e-5)
    assert len(actual[-1]) == TOKENS == 77


def test_minilm_is_the_model_in_the_wheel_and_knows_what_is_alike():
    from transformers import AutoModel, AutoTokenizer

    text_encoder = encoder("minilm")
    actual = text_encoder.features(["grinning face", "smiling cat", "a stock market report"])
    tokenizer = AutoTokenizer.from_pretrained(text_encoder.folder)
    model = AutoModel.from_pretrained(text_encoder.folder).eval()
    tokens = tokenizer(["smiling cat"], return_tensors="pt")
    with torch.no_grad():
        expected = model(**tokens).last_hidden_state[0].numpy()
    assert text_encoder.width == 384 and np.allclose(actual[1], expected, atol=1e-5)
    a, b, c = (f.mean(0) / np.linalg.norm(f.mean(0)) for f in actual)
    assert a @ b > a @ c + 0.1


def test_a_fingerprint_is_of_the_weights(clip_folder, tmp_path):
    same = shutil.copytree(clip_folder, tmp_path / "same")
    other = save_clip(tmp_path / "other", seed=1)
    one, two, three = (encoder("clip", str(p)).fingerprint for p in (clip_folder, same, other))
    assert one == two != three


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "preprocessor_config.json"])
def test_a_fingerprint_is_of_every_file_that_decides(clip_folder, tmp_path, name):
    """Also those of a CLIP's image processor: another mean gives another score."""
    other = Path(shutil.copytree(clip_folder, tmp_path / "other"))
    (other / name).write_text((other / name).read_text() + " ")
    assert content_hash(other) != content_hash(Path(clip_folder))


def test_what_is_missing_is_said_in_a_line(clip_folder, tmp_path):
    for path, said in (
        (None, "expected `path`"),
        (str(tmp_path / "no"), "no such folder"),
        (str(tmp_path), "no such file: .*config.json"),
    ):
        with pytest.raises(DataMissing, match=said):
            _ = encoder("clip", path).fingerprint
    corrupted = shutil.copytree(clip_folder, tmp_path / "corrupted")
    (corrupted / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(DataMissing, match="model|corrupted"):
        encoder("clip", str(corrupted)).features(["a"])
    unreadable = shutil.copytree(clip_folder, tmp_path / "unreadable")
    (unreadable / "tokenizer.json").write_text("{}")
    with pytest.raises(DataMissing, match="tokenizer.json"):
        _ = encoder("clip", str(unreadable)).ids(["b"])
