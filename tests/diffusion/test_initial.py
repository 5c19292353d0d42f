"""Training that starts from given weights."""

import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cabench.diffusion.checkpoints import prefixed, save
from cabench.diffusion.initial import adopt, adopted, read_weights
from cabench.errors import CabenchError
from cabench.models.model import build, build_initialised
from cabench.records.spec import ModelSpec

WIDTH, HEADS, DEPTH, PATCH, SIDE, CHANNELS, CLASSES = 16, 2, 2, 2, 4, 3, 5


def spec(methods=("adaln_zero",), classes=CLASSES):
    affine = "adaln_zero" not in methods
    return ModelSpec.model_validate(
        {
            "backbone": {
                "kind": "dit",
                "version": 1,
                "shape": [CHANNELS, SIDE, SIDE],
                "patch": PATCH,
                "width": WIDTH,
                "depth": DEPTH,
                "heads": HEADS,
                "depthwise": "can" in methods,
                "norm_affine": affine,
            },
            "embedder": {
                "version": 1,
                "normalise": False,
                "width": WIDTH,
                "classes": {"label": classes},
            },
            "methods": [
                {
                    "kind": kind,
                    "version": 1,
                    "options": {"source": ["timestep", "label"], "sum_scale": "one"},
                }
                for kind in methods
            ],
        }
    )


class Block(nn.Module):
    """DiT's block in its names (arXiv 2212.09748, section 3.2), by torch's own modules."""

    def __init__(self):
        super().__init__()
        self.attn = nn.ModuleDict(
            {"qkv": nn.Linear(WIDTH, 3 * WIDTH), "proj": nn.Linear(WIDTH, WIDTH)}
        )
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(WIDTH, 4 * WIDTH), "fc2": nn.Linear(4 * WIDTH, WIDTH)}
        )
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(WIDTH, 6 * WIDTH))

    def forward(self, x, c):
        parts = self.adaLN_modulation(c)[:, None].chunk(6, 2)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = parts
        h = norm(x) * (1 + scale) + shift
        q, k, v = (
            part.unflatten(2, (HEADS, -1)).transpose(1, 2)
            for part in self.attn["qkv"](h).chunk(3, 2)
        )
        weights = (q @ k.mT / math.sqrt(WIDTH // HEADS)).softmax(-1)
        x = x + gate * self.attn["proj"]((weights @ v).transpose(1, 2).flatten(2))
        h = norm(x) * (1 + mlp_scale) + mlp_shift
        h = F.gelu(self.mlp["fc1"](h), approximate="tanh")
        return x + mlp_gate * self.mlp["fc2"](h)


def norm(x):
    return F.layer_norm(x, (WIDTH,), eps=1e-6)


class PublishedDiT(nn.Module):
    """A DiT with the parameter names of its repository and a learned variance."""

    def __init__(self):
        super().__init__()
        self.x_embedder = nn.ModuleDict({"proj": nn.Conv2d(CHANNELS, WIDTH, PATCH, PATCH)})
        self.t_embedder = nn.ModuleDict(
            {"mlp": nn.Sequential(nn.Linear(256, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))}
        )
        self.y_embedder = nn.ModuleDict({"embedding_table": nn.Embedding(CLASSES + 1, WIDTH)})
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.final_layer = nn.ModuleDict(
            {
                "linear": nn.Linear(WIDTH, PATCH * PATCH * 2 * CHANNELS),
                "adaLN_modulation": nn.Sequential(nn.SiLU(), nn.Linear(WIDTH, 2 * WIDTH)),
            }
        )

    def forward(self, x, t, y, positions):
        half = torch.exp(-math.log(10000) * torch.arange(128) / 128)
        angles = t[:, None] * half
        c = self.t_embedder["mlp"](torch.cat([angles.cos(), angles.sin()], 1))
        c = c + self.y_embedder["embedding_table"](y)
        h = self.x_embedder["proj"](x).flatten(2).mT + positions
        for block in self.blocks:
            h = block(h, c)
        shift, scale = self.final_layer["adaLN_modulation"](c)[:, None].chunk(2, 2)
        y = self.final_layer["linear"](norm(h) * (1 + scale) + shift)
        side = SIDE // PATCH  # rows (h, w, p, q, c) -> image (c, h p, w q)
        y = y.unflatten(2, (PATCH, PATCH, 2 * CHANNELS)).unflatten(1, (side, side))
        return torch.einsum("nhwpqc->nchpwq", y).flatten(4).flatten(2, 3)[:, :CHANNELS]


@pytest.fixture
def published(tmp_path):
    torch.manual_seed(0)
    network = PublishedDiT()
    for p in network.parameters():
        nn.init.normal_(p, std=0.2)
    torch.save({"ema": network.state_dict(), "opt": {}}, tmp_path / "dit.pt")
    return network, tmp_path / "dit.pt"


def inputs():
    g = torch.Generator().manual_seed(1)
    return torch.randn(4, CHANNELS, SIDE, SIDE, generator=g), torch.tensor([3.0, 250, 600, 999])


def test_a_state_dict_with_dits_names_gives_its_outputs(published):
    network, path = published
    model = build_initialised(spec(), seed=0)
    tensors = read_weights(path)
    assert sum(adopted(model, tensors).values()) == sum(p.numel() for p in model.parameters())
    adopt(model, tensors)
    (x, t), y = inputs(), torch.tensor([0, 1, 4, CLASSES])  # the last is the null class
    with torch.no_grad():
        expected = network(x, t, y, model.backbone.positions)
        drop = y == CLASSES
        actual = model(x, t, {"label": y.clamp(max=CLASSES - 1)}, drop)
    assert expected.std() > 0.1
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_what_an_arm_adds_keeps_its_initial_values(published):
    _, path = published
    tensors = read_weights(path)
    model, before = (
        build(spec(("adaln_zero", "can"))),
        build_initialised(spec(("adaln_zero", "can")), seed=3),
    )
    model.load_state_dict(before.state_dict())
    adopt(model, tensors)
    old = dict(before.named_parameters())
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, old[name])}
    assert changed == set(adopted(model, tensors))
    assert any(name.startswith("methods.can") for name in old) and not any(
        name.startswith("methods.can") for name in changed
    )


def test_another_number_of_classes_takes_the_null_row_alone(published):
    _, path = published
    tensors = read_weights(path)
    name = "embedder.categories.label.table.weight"
    model = build_initialised(spec(classes=7), seed=0)
    before = dict(model.named_parameters())[name].detach().clone()
    adopt(model, tensors)
    table = dict(model.named_parameters())[name]
    assert torch.equal(table[:-1], before[:-1]) and torch.equal(table[-1], tensors[name][-1])
    assert adopted(model, tensors)[name] == WIDTH


def test_a_snapshot_starts_another_training(tmp_path):
    trained = build_initialised(spec(), seed=5)
    save(tmp_path / "00000064.safetensors", prefixed("ema.", trained), curve={})
    model = build_initialised(spec(), seed=6)
    adopt(model, read_weights(tmp_path / "00000064.safetensors"))
    old = dict(trained.named_parameters())
    assert all(torch.equal(p, old[name]) for name, p in model.named_parameters())


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_file_runs_no_code(tmp_path):
    with open(tmp_path / "bad.pt", "wb") as file:
        pickle.dump({"model": Malicious(tmp_path / "created")}, file)
    with pytest.raises(CabenchError, match=r"bad\.pt cannot be read as weights: "):
        read_weights(tmp_path / "bad.pt")
    assert not (tmp_path / "created").exists()


@pytest.mark.parametrize("name", ["none.pt", "none.safetensors", "text.pt", "text.safetensors"])
def test_unreadable_files_are_named(tmp_path, name):
    for text in ("text.pt", "text.safetensors"):
        (tmp_path / text).write_text("no weights")
    with pytest.raises(CabenchError, match=f"{name} cannot be read as weights: "):
        read_weights(tmp_path / name)
