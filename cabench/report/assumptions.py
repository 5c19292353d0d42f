"""Assumptions where the papers are silent, CAN (arXiv 2404.01143) first of all."""

from __future__ import annotations

from collections.abc import Iterable

from cabench.records.schema import Record

# (backbone or method that it is about, '' for every study; the assumption)
ASSUMPTIONS = (
    ("can", "'Output projection' means that of self-attention, not the model's head."),
    (
        "can",
        "Output projections (and other linear layers) of equal shape share one generated weight; "
        "each keeps its own static weight. Depthwise kernels are generated per layer. An arm may "
        "turn sharing off.",
    ),
    (
        "can",
        "The weight generator is one zero-initialised linear layer on the sum of the embedded "
        "conditions, unless an arm says otherwise.",
    ),
    (
        "kernel_mixture",
        "The paper does not give the number of base kernels of adaptive kernel selection; it is "
        "an option of the arm. They are initialised as the layer's static kernel (where that is "
        "zero, with standard deviation 1/sqrt(fan-in)). Coefficients are linear in the condition, "
        "start at zero, and the mixture adds to the static kernel, unless an arm says otherwise.",
    ),
    (
        "timestep_mixture",
        "Remix-DiT has coefficients per interval of the timestep; here they are a softmax of a "
        "linear map of the timestep's embedding, one map per layer. One of the K kernels is the "
        "static one, initialised with 1/sqrt(K + 1) of the others' standard deviation, so that the "
        "mixture starts with the standard deviation of one kernel.",
    ),
    (
        "lora",
        "One layer of the MLP that weights the bases is shared by all layers of the backbone; the "
        "other is per layer.",
    ),
    (
        "hyper_lora",
        "Both low-rank factors are linear in the condition, in place of TC-LoRA's hypernetwork.",
    ),
    (
        "text_kernels",
        "DiCo's kernels of a text are the mean over its tokens of an MLP's output per token; they "
        "add to the static kernel and start at zero.",
    ),
    (
        "film",
        "FiLM takes the form of AdaGN: one modulation per block, at its second norm, which keeps "
        "its learned affine; it starts at zero.",
    ),
    (
        "adaln_single",
        "The map and the tables of adaLN-single start at zero; PixArt initialises the tables at "
        "random.",
    ),
    (
        "cross_attention",
        "The output projection starts at zero; label and timestep are one token each.",
    ),
    (
        "moe",
        "Experts with a quarter of the FFN's width are added beside it; Switch-DiT's loss on the "
        "router is left out.",
    ),
    (
        "dit",
        "DiT has no depthwise convolution: a 3x3 one is inserted in the FFN, on the expanded "
        "channels, as h + act(dw(h)), zero-initialised. The control has the same convolution, "
        "static.",
    ),
    ("dit", "DiT does not predict a variance, because its loss would add a second objective."),
    (
        "uvit",
        "U-ViT has no depthwise convolution: a 3x3 one is inserted in the FFN as in DiT; tokens "
        "that are not image patches bypass it.",
    ),
    (
        "cat",
        "CaT's body is a reconstruction: two stages of EfficientViT modules with a long skip "
        "connection, a norm before each module in place of BatchNorm, no positional embedding, and "
        "adaLN as its native conditioning.",
    ),
    (
        "cat",
        "CaT's widths and depths were never published: the presets are reconstructions that match "
        "its MACs. MAC ratios hold by construction; its FIDs have not been reproduced.",
    ),
    (
        "",
        "The baseline of an ablation is the backbone with its native method; 'CAN alone' replaces "
        "that method by CAN.",
    ),
    (
        "",
        "Every arm has the same condition embedder, training recipe and learning rate; the paper "
        "does not say how each arm was tuned.",
    ),
    (
        "",
        "The paper does not state the guidance of its ablations: arms are ranked at the guidance "
        "given under Protocol.",
    ),
)


def assumptions(records: Iterable[Record]) -> list[str]:
    """The assumptions about the backbones and methods of these records, and those about all."""
    used = {""}
    for record in records:
        model = record.spec.train.model
        used |= {model.backbone.kind, *(method.kind for method in model.methods)}
    return [text for about, text in ASSUMPTIONS if about in used]
