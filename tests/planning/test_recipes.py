"""Arms whose training or sampling differs from the scale's."""

import pytest
from specs import ROOT

from cabench.config.study import read_scale, read_study
from cabench.errors import CabenchError
from cabench.execution.compiling import uncompiled
from cabench.planning.trials import plan

STUDY = """
study: recipes
question: Which?
baseline: base
arms:
  base: {methods: [native]}
  changed: {methods: [native], recipe: {%s}}
"""


def planned(tmp_path, recipe, settings=()):
    path = tmp_path / "recipes.yaml"
    path.write_text(STUDY % recipe)
    return plan(read_study(path), read_scale("quick", settings), [0])


def specs(tmp_path, recipe, settings=()):
    return [trial.spec for trial in planned(tmp_path, recipe, settings).trials]


def test_numbers_are_factors_and_the_rest_is_the_scales(tmp_path):
    base, changed = specs(tmp_path, "batch: 4, lr: 2, ema_half_life: 0.5, steps: 4, sampler: unipc")
    recipe = base.train.training.model_copy(update={"batch": 64, "lr": 6e-3, "ema_half_life": 1250})
    assert changed.train.training == recipe and changed.images == base.images
    assert (changed.sample.sampler, changed.sample.steps) == ("unipc", 48)
    assert changed.sample.n == base.sample.n and changed.train.model == base.train.model


def test_a_change_of_sampling_alone_shares_the_network(tmp_path):
    base, changed = specs(tmp_path, "steps: 4")
    assert base.train_key == changed.train_key and base.key != changed.key


def test_the_default_recipe_changes_no_key(tmp_path):
    base, same = specs(tmp_path, "batch: 1, optimiser: adamw")
    assert base.key == same.key and "optimiser" not in base.train.dump()["training"]


def test_muon_is_in_the_key_and_not_compiled_which_is_said(tmp_path):
    whole = planned(tmp_path, "optimiser: muon")
    base, muon = (trial.spec.train for trial in whole.trials)
    assert muon.dump()["training"]["optimiser"] == "muon" and base.key != muon.key
    assert base.compiled is not None and muon.compiled is None
    lines = uncompiled(whole, whole.trials)
    assert "training of changed is not compiled: its optimiser is Muon" in lines
    (of_scale, _) = specs(tmp_path, "batch: 1", ["training.optimiser=muon"])
    assert of_scale.train == muon


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        ("batch: 1e-5", "recipes.yaml:7: arms.changed.recipe.batch: expected 1 to 90,000"),
        ("batch: 1e5", "recipes.yaml:7: arms.changed.recipe.batch: expected 1 to 90,000"),
        ("steps: 1e3", "recipes.yaml:7: arms.changed.recipe.steps: expected 1 to 1,000 steps"),
        ("optimiser: lion", "recipes.yaml:7: arms.changed.recipe.optimiser"),
        ("images: 2", "recipes.yaml:7: arms.changed.recipe"),
    ],
)
def test_what_a_recipe_can_not_be_is_one_line(tmp_path, recipe, text):
    with pytest.raises(CabenchError) as caught:
        planned(tmp_path, recipe)
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_a_sampler_that_can_not_follow_the_process_is_named_at_its_arm(tmp_path):
    path = tmp_path / "recipes.yaml"
    path.write_text(STUDY % "sampler: ddpm")
    scale = read_scale("smoke")  # flow
    with pytest.raises(CabenchError, match=r"recipes.yaml:7: arms.changed.recipe.sampler"):
        plan(read_study(path), scale, [0])


def test_the_study_of_optimisers_compares_arms_of_one_recipe():
    study = read_study(ROOT / "studies" / "optimiser.yaml").study
    for claim in study.claims:
        assert study.arms[claim.better].recipe == study.arms[claim.than].recipe
