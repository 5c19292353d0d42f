"""Combinations of valid parts: each is planned, or refused in one line."""

import itertools
from functools import lru_cache

import pytest
import yaml
from cli import cabench
from conftest import TINY_SCALE, TINY_STUDY
from invalid import DRY, JARGON, assert_at, error_of, put
from ruamel.yaml.comments import CommentedMap

from cabench.config.scale import Scale
from cabench.config.study import read_scale, read_study
from cabench.config.yaml import Document, located
from cabench.diffusion.process import Process
from cabench.diffusion.sampling import solver
from cabench.errors import CabenchError, ConfigError
from cabench.planning.combinations import check_scale
from cabench.planning.specs import sample_spec
from cabench.planning.trials import plan
from cabench.records.spec import ModelSpec, unused_streams

CHOICES = {  # of a scale; the product has every combination
    "diffusion.prediction": ["eps", "v", "flow"],
    "diffusion.schedule": ["linear", "sqrt_linear", "cosine"],
    "sampling.sampler": ["dpmpp_2m", "unipc", "ddim", "ddpm"],
    "sampling.steps": [1, 999],
    "sampling.guidance": [0, 1],
    "sampling.sweep": [{}, {"guidance": [1.0, 2.0]}, {"guidance": [2.0], "seeds": 0}],
    "sampling.autoguidance": [None, 64],
    "training.label_dropout": [0, 0.1],
    "training.decay": [0, 0.4],
    "training.lengths": [[], [96]],
}

GUIDED = {  # a second product: what guidance means beside its interval
    **{key: values[:1] for key, values in CHOICES.items()},
    "sampling.guidance": [0, 1, 2],
    "sampling.guidance_interval": [None, [0, 1], [0.2, 0.8]],
    "sampling.sweep": CHOICES["sampling.sweep"],
    "sampling.autoguidance": [None, 64],
    "training.label_dropout": [0, 0.1],
}


@lru_cache
def has_grid(prediction, schedule, sampler, steps):
    """Whether the sampler can be built, as it is when samples are drawn."""
    try:
        solver(Process(prediction, schedule), sampler, steps)
    except CabenchError:
        return False
    return True


def means_something(c):
    process = (c["diffusion.prediction"], c["diffusion.schedule"])
    swept = c["sampling.sweep"].get("guidance", []) if c["sampling.sweep"].get("seeds", 1) else []
    is_guided = any(g != 1 for g in (c["sampling.guidance"], *swept))
    if process[0] == "flow" and process[1] != "linear":
        return False
    if (c["sampling.autoguidance"] or c.get("sampling.guidance_interval")) and not is_guided:
        return False
    if is_guided and not (c["training.label_dropout"] or c["sampling.autoguidance"]):
        return False
    if c["sampling.autoguidance"] and c["training.lengths"] and c["training.decay"]:
        return False  # 64 of 96 images is in the decay
    return has_grid(*process, c["sampling.sampler"], c["sampling.steps"])


@pytest.mark.parametrize(
    ("choices", "least", "places"),
    [
        (
            CHOICES,
            500,
            {
                "diffusion", "sampling.sampler", "sampling.steps", "sampling.guidance",
                "sampling.sweep", "sampling.autoguidance",
            },
        ),
        (
            GUIDED,
            30,
            {
                "sampling.guidance", "sampling.guidance_interval", "sampling.sweep",
                "sampling.autoguidance",
            },
        ),
    ],
    ids=["all", "guidance"],
)  # fmt: skip
def test_every_combination_of_discrete_options(tiny, choices, least, places):
    study, accepted, refused = read_study(tiny / "tiny.yaml").study, 0, set()
    base = yaml.safe_load(TINY_SCALE)
    for values in itertools.product(*choices.values()):
        combination = dict(zip(choices, values, strict=True))
        parts = {part: dict(base[part]) for part in ("training", "diffusion", "sampling")}
        for key, value in combination.items():
            part, name = key.split(".")
            parts[part][name] = value
        document = Document("scale", "scale.yaml", CommentedMap(base | parts))
        try:
            scale = document.validated(Scale)
            with located(document):
                check_scale(study, scale)
            sample_spec(scale)
            accepted += 1
        except ConfigError as error:
            text = str(error)
            assert text.startswith("scale.yaml:1: ") and "\n" not in text, text
            assert not JARGON.search(text), text
            refused.add(".".join(map(str, error.where[:2])))
            assert not means_something(combination), (combination, text)
            continue
        assert means_something(combination), combination
    assert accepted > least
    assert refused == places


BOUND = TINY_STUDY.lstrip()[: TINY_STUDY.index("claims:") - 1] + "primary: kid\n"


@pytest.mark.parametrize(
    "edits",
    [
        ((": static}", ": static, bound: true}"), ("]}}]}", "]}}], bound: true}")),
        (("[native]", "[]"), ("[{can: {sites: [depthwise, patch_embed, attn_out]}}]", "[]")),
    ],
)  # fmt: skip
def test_a_study_whose_arms_have_no_condition(tiny, edits):
    """The third arm, which has one, is extra and does not run."""
    text = BOUND
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    path = put(tiny / "bound.yaml", text)
    assert_at(error_of(lambda: plan(read_study(path), read_scale("scale.yaml"))), path, 4, "arms")
    assert plan(read_study(path), read_scale("scale.yaml"), all_arms=True).trials


def test_streams_that_no_method_uses_are_stated(tiny):
    text = TINY_STUDY.replace("[native]", "[{adaln: {source: timestep}}]")
    put(tiny / "tiny.yaml", text.replace("attn_out]}}]", "attn_out], source: timestep}}]"))
    said = "No method is conditioned on label: "
    assert said in cabench(*DRY).out and said not in cabench(*DRY, "--all-arms").out
    planned = plan(read_study(tiny / "tiny.yaml"), read_scale("scale.yaml"), all_arms=True)
    specs: dict[str, ModelSpec] = {name: model.spec for name, model in planned.models.items()}
    assert unused_streams(specs.values()) == []
    assert unused_streams([specs["native+dw"], specs["can-3"]]) == ["label"]
