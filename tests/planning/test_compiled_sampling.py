"""`sampling.compile` is in the key of what is compiled, and of nothing else."""

from specs import ROOT

from cabench.config.study import read_scale, read_study
from cabench.diffusion import compiled_network
from cabench.planning.trials import plan

STUDY = ROOT / "studies" / "layer_placement.yaml"


def first_trial(*settings, **options):
    scale = read_scale("quick", settings)
    return plan(read_study(STUDY), scale, [0], **options).trials[0]


def test_compiled_samples_have_a_key_of_their_own_and_the_same_network():
    eager, fast = first_trial(), first_trial("sampling.compile=true")
    assert fast.spec.sample.compiled == compiled_network.VERSION
    assert fast.spec.train_key == eager.spec.train_key
    assert fast.spec.sample_key(1) != eager.spec.sample_key(1) and fast.key != eager.key


def test_where_nothing_can_be_compiled_the_key_is_that_of_eager_samples():
    eager = first_trial(compiles=False)
    assert first_trial("sampling.compile=true", compiles=False).key == eager.key
