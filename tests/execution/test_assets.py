from cabench.execution import trial as module
from cabench.execution.assets import Assets
from cabench.records.store import Store


def test_a_scorer_has_the_extractors_that_ranks_share(tiny_plan, tmp_path, monkeypatch):
    assets = Assets()
    monkeypatch.setattr(module, "ASSETS", assets)
    trial, store = tiny_plan.trials[0], Store(tmp_path / "results", tmp_path / "cache")
    _, (scorer,) = module.scorers_of(trial, store)
    for name, extractor in scorer.extractors.items():
        assert extractor is assets.extractor(name, store.cache, "cpu")
