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
        "The weight generator is SiLU, then one zero-initialised linear layer without bias, on the "
        "sum of the embedded conditions divided by the square root of their number, unless an arm "
        "says otherwise. The paper states neither activation, bias nor initial values.",
    ),
    (
        "kernel_mixture",
        "The paper does not give the number of base kernels of adaptive kernel selection; it is "
        "an option of the arm. They are initialised as the layer's static kernel (where that is "
        "zero, with standard deviation 1/sqrt(fan-in)). Coefficients are SiLU and a linear map of "
        "the condition without bias, start at zero, and the mixture adds to the static kernel, "
        "unless an arm says otherwise.",
    ),
    (
        "timestep_mixture",
        "Remix-DiT has coefficients per interval of the timestep, with a prior towards the "
        "interval's own basis; here they are a softmax of SiLU and a linear map of the timestep's "
        "embedding, one map per layer. One of the K kernels is the static one, initialised with "
        "1/sqrt(K + 1) of the others' standard deviation, so that the mixture starts with the "
        "standard deviation of one kernel.",
    ),
    (
        "lora",
        "SiLU and a linear map of the condition without bias weight the bases. The published code "
        "has an MLP per layer, a conditional bias of the layer, and another initial spread.",
    ),
    (
        "hyper_lora",
        "Both low-rank factors are SiLU and a linear map of the condition, in place of TC-LoRA's "
        "hypernetwork.",
    ),
    (
        "text_kernels",
        "DiCo's kernels of a text are the mean over its tokens of SiLU and a linear map of each; "
        "they add to the static kernel and start at zero. DiCo has an MLP.",
    ),
    (
        "film",
        "FiLM modulates every norm, after its learned affine, by SiLU and a linear map without "
        "bias that starts at zero. AdaGN has one modulation per residual block.",
    ),
    (
        "adaln_single",
        "The map of adaLN-single has no bias, and map and tables start at zero; PixArt initialises "
        "both at random and adds the embedding itself to the last norm's table.",
    ),
    (
        "cross_attention",
        "The output projection starts at zero; label and timestep are one token each; keys and "
        "values have no bias.",
    ),
    (
        "timestep_moe",
        "Experts with a quarter of the FFN's width are added beside it and balanced by the loss of "
        "Switch Transformers. Switch-DiT has linear experts that multiply the block's input, and a "
        "diffusion-prior loss on the router.",
    ),
    (
        "joint_attention",
        "Label and timestep are one token each of the condition's stream, and modulate it; in "
        "MM-DiT the timestep only modulates, and the tokens are a text's.",
    ),
    (
        "token_modulation",
        "A norm's modulation of a token is a map of SiLU(c + z), where z is a linear map of that "
        "token, normalised. In DDT z is the output of an encoder of several blocks, the same for "
        "all norms.",
    ),
    (
        "expert_choice",
        "Experts with a quarter of the FFN's width are added beside it, and the router sees the "
        "condition, too; in EC-DiT experts replace feed-forward parts, and the router sees tokens.",
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
        "uvit",
        "Below the width of the smallest published U-ViT (512), linear layers and positions are "
        "drawn from a wider normal, 0.02 sqrt(512 / width), by fan-in.",
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
        "does not say how each arm was tuned. Below the width of the smallest published DiT (384), "
        "class tables and the timestep's last map are drawn from a wider normal, "
        "0.02 sqrt(384 / width).",
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
