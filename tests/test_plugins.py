"""A plugin's arm runs beside the study's own; the plugin's source is in that arm's keys only."""

import json
import shutil
import subprocess
import sys

import pytest
from cli import cabench
from specs import ROOT, some, write

pytestmark = pytest.mark.slow

EXAMPLE = ROOT / "examples" / "gated_kernels.py"
STUDY = ("run", "tiny.yaml", "--scale", "scale.yaml", "--executor", "local")
ARM = ("--arm", "{native+gated-dw: {methods: [native, gated_kernels]}}")


@pytest.mark.full
def test_the_example_runs_beside_the_studys_arms_and_gets_a_verdict(tiny):
    assert len(EXAMPLE.read_text().splitlines()) <= 60
    shutil.copy(EXAMPLE, tiny / "idea.py")
    assert cabench(*STUDY)[0] == 0
    idea = ("--plugin", "idea.py", *ARM)
    code, text, _ = cabench(*STUDY, *idea)
    assert code == 0 and "2 trials to run, 4 done already" in text
    assert "A1 (added)" in text and "native+gated-dw beats native+dw" in text
    manifest = json.loads((tiny / "results/tiny.tiny/manifest.json").read_text())
    assert manifest["added"] == [ARM[1]] and manifest["plugins"][0]["path"] == "idea.py"
    assert [a["name"] for a in manifest["arms"] if a["added"]] == ["native+gated-dw"]
    # nothing is left to do; an edit of the plugin re-runs its arm only
    assert "trials to run" not in cabench(*STUDY, *idea)[1]
    (tiny / "idea.py").write_text((tiny / "idea.py").read_text() + "# an edit\n")
    code, text, _ = cabench(*STUDY, *idea)
    assert code == 0 and "2 trials to run, 4 done already" in text
    # without the plugin
    code, text, _ = cabench(*STUDY)
    assert code == 0 and "trials to run" not in text and "gated-dw" not in text


def test_gated_kernels_equal_static_kernels_times_one_plus_the_gain():
    import torch
    from specs import METHODS as forms
    from specs import method, model_spec

    from cabench.models.model import build_initialised
    from cabench.plugins import load_plugins, read_plugins

    load_plugins(read_plugins([EXAMPLE]))
    spec = model_spec([*forms["adaln_zero"]["methods"], method("gated_kernels", bias=True)])
    model = build_initialised(spec, seed=0)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    x, t, label = torch.randn(1, 1, 8, 8), torch.tensor([300.0]), torch.tensor([3])
    gated = model(x, t, {"label": label})
    embedded = model.embedder(t, {"label": label})
    gains = model.methods["gated_kernels"](embedded).operations
    with torch.no_grad():
        for address, (operation,) in gains.items():
            layer = model.backbone.get_submodule(address)
            layer.weight.mul_(1 + operation.gain.view(-1, 1, 1, 1))
        for linear in model.methods["gated_kernels"].maps:
            linear.weight.zero_()
            linear.bias.zero_()
    torch.testing.assert_close(model(x, t, {"label": label}), gated, rtol=1e-4, atol=1e-5)


RAISES = """
from cabench.models.conditioning.base import Method
from cabench.registry import METHODS

@METHODS.register("raises")
class Raises(Method):
    def forward(self, embedded):
        WHAT
"""

FAULTS = {
    "an error": ("raise ValueError('no such thing')", "ValueError: no such thing"),
    "exit": ("raise SystemExit(3)", "SystemExit: 3"),
    "a missing file": ("open('nowhere.txt')", "FileNotFoundError"),
    "out of memory": ("import torch; torch.empty(10**15)", "RuntimeError"),
    "no result": ("return None", "AttributeError"),
}


@pytest.mark.parametrize("what", some(FAULTS, ("exit",)))
def test_an_error_in_a_plugin_fails_its_trial_only(tiny, what):
    body, message = FAULTS[what]
    write(tiny / "idea.py", RAISES.replace("WHAT", body))
    arm = ("--arm", "{idea: {methods: [native, raises]}}", "--seeds", "1")
    code, text, err = cabench(*STUDY, "--plugin", "idea.py", *arm)
    assert code == 1 and f"idea, seed 0: failed: {message}" in text, text
    assert "Traceback" not in text + err and "2 trials failed" not in text
    records = [
        json.loads(p.read_text())
        for p in (tiny / "results/records").glob("*.json")
        if "." not in p.stem
    ]
    assert sorted(r["status"] for r in records) == ["complete", "complete", "failed"]
    code, _, err = cabench(*STUDY, "--plugin", "idea.py", *arm, "--dry-run")
    assert code == 2 and "arms.idea: its forward pass fails: " in err, err


UNCOUNTABLE = """
import torch
from cabench.models.conditioning.base import Method
from cabench.models.operations import Conditioning, ExtraTokens
from cabench.registry import METHODS

@METHODS.register("running_sum")
class RunningSum(Method):
    hooks = ("tokens",)

    def forward(self, embedded):
        return Conditioning(tokens=[ExtraTokens(embedded["timestep"].cumsum(1).unsqueeze(1), 0)])
"""


def test_an_arm_whose_macs_cannot_be_counted_is_refused_before_training(tiny):
    write(tiny / "idea.py", UNCOUNTABLE)
    arm = ("--arm", "{idea: {methods: [native, running_sum]}}", "--seeds", "1")
    code, _, err = cabench(*STUDY, "--plugin", "idea.py", *arm)
    assert code == 2 and "arms.idea: MACs: no rule to count aten::cumsum" in err, err
    assert not (tiny / "results/records").exists() and not (tiny / ".cabench/training").exists()


@pytest.mark.parametrize(
    "module",
    some(
        [
            "execution.run",
            "commands.schema",
            "commands.cost_study",
            "commands.list",
            "commands.audit",
        ],
        ["execution.run"],
    ),
)
def test_modules_that_load_plugins_import_every_contract(module):
    program = f"""
import cabench.{module}
from cabench.registry import REGISTRIES
print([r.kind for r in REGISTRIES if r.contract is None])
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert process.stdout.strip() == "[]", process.stdout + process.stderr


def test_macs_of_a_plugins_method_beside_published_models():
    code, out, err = cabench("macs", "--plugin", ROOT / "examples/gated_kernels.py")
    rows = [line.split() for line in out.splitlines() if line.startswith("gated_kernels")]
    assert code == 0 and not err
    assert [row[1] for row in rows] == ["CaT-B0", "DiT-S/2", "U-ViT-S/2"]
    # 12 blocks: 1,536 gains from 384; static and gated 3x3 of 256 tokens with 1,536 channels
    expected = 12 * (384 * 1536 + 2 * 9 * 256 * 1536) / 1e9
    assert float(rows[1][4]) == pytest.approx(expected, abs=0.0006)


def test_macs_of_a_plugin_without_a_method(tmp_path):
    source = "from cabench.registry import DATASETS\n\n\n@DATASETS.register('d')\ndef d(): pass\n"
    path = write(tmp_path / "mine.py", source)
    code, _, err = cabench("macs", "--plugin", path)
    assert code == 2 and err == f"cabench: --plugin: {path}: it registers no method\n"
