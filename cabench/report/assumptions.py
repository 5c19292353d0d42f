"""Where the paper (CAN, arXiv 2404.01143) is silent: what was assumed here instead."""

from __future__ import annotations

from typing import Any

# (which backbone or method it is about, '' for every study; what was assumed)
ASSUMPTIONS = (
    ("can", "'Output projection' is read as that of self-attention, not as the network's head."),
    (
        "can",
        "Output projections (and other linear layers) of equal shape share one generated "
        "weight; each keeps a static weight of its own. Depthwise kernels are generated for "
        "each layer. An arm may unshare the others, too.",
    ),
    (
        "can",
        "The weight generator is one linear layer, zero-initialised, from the sum of the "
        "embedded conditions, unless an arm says otherwise.",
    ),
    (
        "kernel_mixture",
        "The number of base kernels of adaptive kernel selection is not given; "
        "it is an option of an arm. They are drawn as the layer's static kernel "
        "(where that is zero, with the spread 1/sqrt(fan-in)); coefficients are "
        "linear in the condition, zero at the start, and add to the static kernel, "
        "unless an arm says otherwise.",
    ),
    (
        "timestep_mixture",
        "Remix-DiT's coefficients belong to intervals of the timestep; here they "
        "are a softmax of a linear map of its embedding, for each layer its own. "
        "One of the K is the static kernel, drawn 1/sqrt(K + 1) as wide as the "
        "others, so that the mixture starts with the spread of one kernel.",
    ),
    (
        "lora",
        "One layer of the MLP that weighs the bases is shared by all layers, the other is "
        "each layer's own.",
    ),
    (
        "hyper_lora",
        "Both low-rank factors are linear in the condition, in the place of TC-LoRA's "
        "hypernetwork.",
    ),
    (
        "text_kernels",
        "DiCo's kernels of a text are read as the mean over its tokens of what an MLP "
        "makes of each; they add to the static kernel and start at zero.",
    ),
    (
        "film",
        "FiLM takes the form of AdaGN: one modulation a block, at its second norm, whose "
        "learned affine stays; it starts at zero.",
    ),
    (
        "adaln_single",
        "Map and tables of adaLN-single are zero at the start; PixArt draws the tables at random.",
    ),
    (
        "cross_attention",
        "Its output projection is zero at the start; label and timestep are one token each.",
    ),
    (
        "moe",
        "Experts a quarter as wide as the feed-forward part stand beside it; Switch-DiT's loss "
        "on the router is not part of it.",
    ),
    (
        "dit",
        "DiT has no depthwise convolution: a 3x3 one goes into the middle of the feed-forward "
        "part, on the expanded channels, as h + act(dw(h)), zero-initialised. So the control "
        "has the same convolution, static.",
    ),
    ("dit", "DiT predicts no variance: its own loss for that would add a second objective."),
    (
        "uvit",
        "U-ViT has no depthwise convolution: a 3x3 one goes into the middle of the "
        "feed-forward part as in DiT; tokens that are not of the picture pass it by.",
    ),
    (
        "cat",
        "CaT's body is a reconstruction: two stages of EfficientViT modules with a long skip, "
        "a norm before each module in the place of BatchNorm, no positions; adaLN as its "
        "native conditioning.",
    ),
    (
        "cat",
        "CaT's widths and depths were never published: the presets are reconstructions that "
        "meet its MACs. Ratios of MACs hold by construction; its FIDs are untested.",
    ),
    (
        "",
        "The baseline of an ablation is the backbone with its native method; 'CAN alone' is "
        "CAN in that method's place.",
    ),
    (
        "",
        "Every arm has the same condition embedder, one recipe and one learning rate; what the "
        "paper did for each arm is not known.",
    ),
    (
        "",
        "The guidance of the paper's ablations is not known: arms are ranked at the guidance "
        "stated under Protocol.",
    ),
)


def assumptions(records: list[dict[str, Any]]) -> list[str]:
    """Those that bear on the backbones and methods in these records."""
    used = {""}
    for record in records:
        model = record.get("spec", {}).get("train", {}).get("model", {})
        used |= {model.get("backbone", {}).get("kind")}
        used |= {method["kind"] for method in model.get("methods", [])}
    return [text for about, text in ASSUMPTIONS if about in used]
