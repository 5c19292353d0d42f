"""The optimisers of a training run: AdamW, or Muon for hidden matrices beside AdamW for the rest.

Muon: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024, as in
torch.optim.Muon. Its updates are scaled by 0.2 sqrt(max(rows, columns)), so that they have the size
of AdamW's at the same rate (arXiv 2502.16982, sec. 2.2); momentum .95 with Nesterov's form, five
Newton-Schulz steps in bfloat16. Both take the recipe's rate and weight decay.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Optimizer

from cabench.records.spec import RecipeSpec

MUON = "muon"
ENDS = ("backbone.patch_embed.weight", "backbone.head.weight")  # first and last layer: AdamW


def build_optimisers(model: nn.Module, recipe: RecipeSpec) -> list[Optimizer]:
    """The optimisers of the model's parameters, each of which belongs to one of them."""
    matrices = hidden_matrices(model) if recipe.optimiser == MUON else {}
    rest = [p for name, p in model.named_parameters() if name not in matrices]
    adamw = torch.optim.AdamW(
        rest, lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True
    )
    if not matrices:
        return [adamw]
    muon = torch.optim.Muon(
        matrices.values(),
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return [muon, adamw]


def hidden_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights (out, in) of layers, without tables of classes, patch embedding and head."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    return {
        name: p
        for name, p in model.named_parameters()
        if p.ndim == 2 and name.endswith(".weight") and name not in ENDS and id(p) not in tables
    }
