"""`cabench export`: what a fresh process loads with diffusers samples the same bits."""

import ast
import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from cli import cabench as command
from rundir import REFERENCE, reference, write_run
from specs import ROOT, write

import cabench
from cabench.api.export import pipeline_code
from cabench.api.hub import ExportedNetwork
from cabench.data.dataset import VaeSource
from cabench.errors import CabenchError
from cabench.plugins import Plugin, Source, load_plugins, read_plugins
from cabench.records.spec import TrialSpec
from cabench.records.store import Store
from cabench.report.model_card import model_card

EXAMPLE = ROOT / "examples/gated_kernels.py"
RELOAD = """
import sys
import numpy as np
from diffusers import DiffusionPipeline
pipe = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
options = dict(label=["3", 7], n=2, guidance_scale=2, seed=5)
np.save(sys.argv[2], pipe(**options, output_type="np").images)
images = pipe(**options).images
assert [image.size for image in images] == [(8, 8)] * 4
assert np.array_equal(np.asarray(images[3]), np.load(sys.argv[2])[3, 0])
"""


@pytest.fixture
def exported(undisturbed, monkeypatch, tmp_path):
    monkeypatch.chdir(undisturbed.root)
    folder = tmp_path / "can-3"
    done = command("export", "tiny:can-3", folder, "--seed", 1)
    assert done.code == 0, done.err
    return folder


def test_a_fresh_process_samples_the_same_bits_from_the_folder(exported, tmp_path):
    names = {str(path.relative_to(exported)) for path in exported.rglob("*") if path.is_file()}
    assert names == {
        "README.md",
        "model_index.json",
        "pipeline.py",
        "network/config.json",
        "network/diffusion_pytorch_model.safetensors",
    }
    environment = os.environ | {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    call = [sys.executable, "-c", RELOAD, str(exported), str(tmp_path / "images.npy")]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    model = cabench.load_model("tiny", "can-3", seed=1)
    expected = cabench.sample(model, ["3", 7], 2, guidance=2, seed=5).numpy()
    assert np.array_equal(np.load(tmp_path / "images.npy"), expected)


def test_config_and_card_are_those_of_the_record(exported, undisturbed):
    frame = cabench.load("tiny")
    rows = frame[(frame["arm"] == "can-3") & (frame["guidance"] == 1)]
    of_seed = rows[rows["seed"] == 1].set_index("metric")
    record = Store(undisturbed.root / "results", undisturbed.root).sound(of_seed["key"].iloc[0])
    config = json.loads((exported / "network/config.json").read_text())
    assert TrialSpec.model_validate(config["spec"]).key == record.key
    card = (exported / "README.md").read_text()
    assert record.key in card and record.checkpoint in card
    assert "CC BY 4.0" in card and "Complete seeds\nof the arm: 0, 1." in card
    (line,) = [line for line in card.splitlines() if line.startswith("| condition accuracy")]
    _, own, arm, difference, _ = (cell.strip() for cell in line.strip("|").split("|"))
    accuracies = rows[rows["metric"] == "condition_accuracy"]["value"]
    assert float(own) == pytest.approx(of_seed["value"]["condition_accuracy"], abs=0.01)
    assert float(arm.split()[0]) == pytest.approx(accuracies.mean(), abs=0.01)
    assert arm.endswith("(2)") and difference.endswith("(2)")


def test_a_network_of_a_plugin_needs_its_file(tmp_path):
    manifest, records = reference()
    content = records["can-3", 0]
    content["spec"]["train"]["model"]["methods"][0] |= {"kind": "own", "plugin": "0" * 64}
    content["key"] = TrialSpec.model_validate(content["spec"]).key
    manifest["trials"] = [{"arm": "can-3", "seed": 0, "key": content["key"]}]
    root = write_run(tmp_path / "results", manifest, {"own": content})
    words = ("export", "layer_placement:can-3", tmp_path / "to", "--results", root)
    code, _, err = command(*words)
    assert code == 2 and "method 'own' is a plugin's; give the file" in err
    assert not (tmp_path / "to").exists()


def test_the_pipeline_holds_the_code_of_plugins_and_no_path(tmp_path):
    write(tmp_path / "beside_it.py", "ONE = 1\n")
    source = EXAMPLE.read_text() + '\nimport beside_it  # \'quoted\' """ {braces} \\n\n'
    (plugin,) = read_plugins([write(tmp_path / "idea.py", source)])
    code = pipeline_code([plugin])
    assert str(tmp_path) not in code
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    (call,) = [c for c in calls if getattr(c.func, "id", "") == "load_plugins"]
    (same,) = eval(ast.unparse(call.args[0]), {"Plugin": Plugin, "Source": Source})
    assert same.sha256 == plugin.sha256 and same.beside.keys() == {"beside_it"}


@pytest.mark.full
def test_a_network_of_a_plugin_brings_its_code(tiny):
    """A fresh process without the plugin and the module beside it samples the same bits."""
    write(tiny / "beside_it.py", "ONE = 1\n")
    idea = write(tiny / "idea.py", EXAMPLE.read_text() + "\nimport beside_it\n\nbeside_it.ONE\n")
    arm = ("--arm", "{mine: {methods: [native, gated_kernels]}}", "--plugin", idea)
    words = ("run", "tiny.yaml", "--scale", "scale.yaml", "--executor", "local", "--seeds", "0,")
    assert command(*words, *arm).code == 0
    done = command("export", "tiny:mine", "exported", "--plugin", idea)
    assert done.code == 0, done.err
    code = (tiny / "exported/pipeline.py").read_text()
    assert str(tiny) not in code and "beside_it.py" in code
    assert "idea.py" in (tiny / "exported/README.md").read_text()
    expected = cabench.sample(
        cabench.load_model("tiny", "mine", plugins=[idea]), ["3", 7], 2, guidance=2, seed=5
    )
    idea.write_text(idea.read_text() + "# an edit\n")
    _, _, err = command("export", "tiny:mine", "other", "--plugin", idea)
    assert "the plugin of 'gated_kernels' changed since the training" in err
    load_plugins([])
    for file in (idea, tiny / "beside_it.py"):
        file.unlink()
    call = [sys.executable, "-c", RELOAD, "exported", "images.npy"]
    environment = os.environ | {"HF_HOME": str(tiny / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load("images.npy"), expected.numpy())


def test_the_code_of_a_model_card_is_code_whatever_a_class_is_called():
    study = cabench.load_results("layer_placement", results=REFERENCE)
    names = {"label": ('12" vinyl \\ \U0001f600', "b")}
    manifest = study.run.manifest.model_copy(update={"classes": names})
    results = dataclasses.replace(study.results, manifest=manifest)
    card = model_card(results, results.complete("can-3")[0], "can-3", "MIT", "can-3")
    tree = ast.parse(card.partition("```python\n")[2].partition("```")[0])
    (value,) = (each for each in ast.walk(tree) if getattr(each, "arg", None) == "label")
    assert ast.literal_eval(value.value) == names["label"][0]


def test_paths_of_the_machine_stay_out_of_the_folder(undisturbed, monkeypatch, tmp_path):
    monkeypatch.chdir(undisturbed.root)
    model = cabench.load_model("tiny", "can-3")
    source = VaeSource(str(tmp_path), "0" * 64, 1.0, 0.0)
    exported = ExportedNetwork.of(dataclasses.replace(model, vae=source, text_path="/w/clip"))
    assert exported.config["vae"]["path"] is None and exported.config["text_path"] is None
    with pytest.raises(CabenchError, match="expected vae_path"):
        exported.model()
    given = exported.model(vae_path="other", text_path="clip")
    assert given.vae == dataclasses.replace(source, path="other") and given.text_path == "clip"
    hub = dataclasses.replace(model, vae=dataclasses.replace(source, path="owner/vae"))
    assert ExportedNetwork.of(hub).model().vae == hub.vae


def test_a_folder_with_files_and_a_version_of_other_code_are_refused(exported):
    code, _, err = command("export", "tiny:can-3", exported)
    assert code == 2 and "expected a new or empty folder" in err and len(err.splitlines()) == 1
    config = json.loads((exported / "network/config.json").read_text())
    config["spec"]["train"]["model"]["methods"][0]["version"] += 1
    (exported / "network/config.json").write_text(json.dumps(config))
    with pytest.raises(CabenchError, match="trained with version .* of method 'can'"):
        ExportedNetwork.from_pretrained(exported / "network")
