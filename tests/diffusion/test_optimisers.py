"""Muon beside AdamW: which parameters, its update by a plain formula, and resuming."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from specs import METHODS, model_spec, train_spec

from cabench.data import load_dataset
from cabench.diffusion.batches import Data, Order
from cabench.diffusion.checkpoints import load_existing
from cabench.diffusion.loop import train
from cabench.diffusion.optimisers import hidden_matrices
from cabench.diffusion.stack import Stack
from cabench.diffusion.training import Trainer
from cabench.errors import CabenchError

NAME = "backbone.blocks.0.ffn.expand.weight"


def spec(name="native+can-3", **recipe):
    return train_spec(model_spec(**METHODS[name]), optimiser="muon", **recipe)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def trainer_and_data(digits, **recipe):
    trainer = Trainer(spec(**recipe))
    data = Data(digits.split("generator-train"), ["label"])
    return trainer, data, Order(len(data), 32, 0)


def test_each_parameter_has_one_optimiser_and_muon_the_hidden_matrices(digits):
    trainer, _, _ = trainer_and_data(digits)
    muon, adamw = (
        {id(p) for group in each.param_groups for p in group["params"]}
        for each in trainer.optimisers
    )
    parameters = dict(trainer.model.named_parameters())
    assert not muon & adamw and muon | adamw == {id(p) for p in parameters.values()}
    own = {name for name, p in parameters.items() if id(p) in muon}
    assert own == set(hidden_matrices(trainer.model))
    assert all(parameters[name].ndim == 2 for name in own)
    assert {NAME, "methods.adaln_zero.maps.0.weight", "backbone.blocks.1.attn.qkv.weight"} <= own
    assert not own & {
        "backbone.patch_embed.weight",
        "backbone.head.weight",
        "embedder.categories.label.table.weight",
    }


def quintic(values):
    """Five steps of Jordan's polynomial on singular values, in float64."""
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return values


def test_steps_are_those_of_the_formula(digits):
    """Nesterov's momentum .95; 0.2 sqrt(max(rows, columns)) times the rate; decoupled decay.

    Compared in the singular vectors of what is orthogonalised; torch iterates in bfloat16, which
    blurs the directions of small singular values.
    """
    rate, decay = 2e-3, 0.1
    trainer, data, order = trainer_and_data(digits, warmup=0, weight_decay=decay, lr=rate)
    parameter = dict(trainer.model.named_parameters())[NAME]
    momentum, compared = np.zeros(parameter.shape), 0
    gradients = []
    parameter.register_post_accumulate_grad_hook(
        lambda p: gradients.append(p.grad.double().numpy().copy())
    )
    for _ in range(4):
        before = parameter.detach().double().numpy().copy()
        trainer.step(data, order)
        momentum = 0.95 * momentum + 0.05 * gradients[-1]
        u, s, vt = np.linalg.svd(0.05 * gradients[-1] + 0.95 * momentum, full_matrices=False)
        if not s.any():  # the head and the gates start at zero, and so do gradients before them
            continue
        large = s > 0.05 * np.linalg.norm(s)
        update = (before * (1 - rate * decay) - parameter.detach().double().numpy()) / rate
        along = np.einsum("ok,oi,ki->k", u, update, vt) / (0.2 * np.sqrt(max(before.shape)))
        expected = quintic(s / np.linalg.norm(s))
        np.testing.assert_allclose(along[large], expected[large], rtol=0.03)
        compared += large.sum()
    assert compared >= 6


def test_an_interrupted_run_is_the_uninterrupted_one(tmp_path, digits):
    def run(folder, images):
        return load_file(train(spec(), images, digits, folder, snapshot_every=96))

    run(tmp_path / "a", 96)
    state = load_existing(tmp_path / "a" / "state.safetensors")[0]
    assert state[f"momentum_buffer.{NAME}"].abs().max() > 0 and f"exp_avg.{NAME}" not in state
    resumed, whole = run(tmp_path / "a", 160), run(tmp_path / "b", 160)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_stack_refuses_muon(digits, tmp_path):
    class Run:
        trainer = Trainer(spec())

    with pytest.raises(CabenchError, match=r"compiled steps are AdamW's, not those of 'muon'"):
        Stack([Run()], tmp_path)  # pyright: ignore[reportArgumentType]
