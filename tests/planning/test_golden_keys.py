"""The committed reference run pins planned keys, specs and manifests.

`python tests/planning/test_golden_keys.py` rewrites the pinned keys. Do that only together with a
version that was raised on purpose and an entry under "Numbers changed" in the CHANGELOG.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import pytest

from cabench.config.study import read_scale, read_study
from cabench.planning.trials import Plan, manifest, plan
from cabench.planning.tuning import Search, searches, tuned
from cabench.records.schema import ManifestDesign, SearchOutcome

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "results" / "reference"
PINNED = Path(__file__).parent / "golden_keys.json"
STUDIES = sorted(path.parent.name for path in REFERENCE.glob("*/manifest.json"))


def reference(name: str) -> dict:
    return json.loads((REFERENCE / name / "manifest.json").read_text(encoding="utf-8"))


@lru_cache
def planned(name: str) -> Plan:
    committed = reference(name)
    file = read_study(ROOT / committed["study_file"], (), committed["backbone"])
    seeds: dict[str, list[int]] = {}
    for trial in committed["trials"]:
        seeds.setdefault(trial["arm"], []).append(trial["seed"])
    first = [
        seed for seed in committed["seeds"] if all(seed in of_arm for of_arm in seeds.values())
    ]
    scale = read_scale(committed["scale_file"])
    shared = plan(file, scale, first, further_seeds=seeds, all_arms=all_arms(name))
    outcomes = {search.arm: outcome_of(search) for search in searches(shared)}
    return tuned(shared, outcomes) if outcomes else shared


def outcome_of(search: Search) -> SearchOutcome:
    """The committed outcome of the search for an arm's rate."""
    return SearchOutcome.model_validate_json(
        (REFERENCE / "tuning" / f"{search.key}.json").read_text()
    )


def all_arms(name: str) -> bool:
    """Whether the run has arms that the study marks as extra."""
    return any(arm["extra"] for arm in reference(name)["arms"])


def keys_of(name: str) -> dict[str, list[str]]:
    """'ARM, seed S' -> [train key, sample key at each guidance and split, ..., score key]."""
    keys = {}
    for trial in planned(name).trials:
        spec = trial.spec
        samples = [spec.sample_key(g) for g in (spec.guidance, *spec.sweep)]
        if spec.score.unseen is not None:
            samples.append(spec.sample_key(spec.guidance, "unseen"))
        keys[f"{trial.arm}, seed {trial.seed}"] = [spec.train_key, *samples, trial.key]
    return keys


@pytest.mark.parametrize("name", STUDIES)
def test_planned_keys_are_the_pinned_ones(name):
    assert keys_of(name) == json.loads(PINNED.read_text(encoding="utf-8"))[name]


@pytest.mark.parametrize("name", STUDIES)
def test_planned_specs_are_the_committed_records(name):
    for trial in planned(name).trials:
        record = json.loads((REFERENCE / "records" / f"{trial.key}.json").read_text("utf-8"))
        assert json.dumps(trial.spec.dump()) == json.dumps(record["spec"])  # the order of keys, too


@pytest.mark.parametrize("name", STUDIES)
def test_planned_manifest_is_the_committed_one(name):
    written_by_the_command = ("scale_file", "use_reference", "study_file")
    committed = reference(name)
    design = ManifestDesign.model_validate(committed["design"])
    now = manifest(planned(name), design=design).dump()
    for key in written_by_the_command:
        committed.pop(key), now.pop(key, None)
    assert json.dumps(now) == json.dumps(committed)


if __name__ == "__main__":
    text = json.dumps({name: keys_of(name) for name in STUDIES}, indent=1)
    PINNED.write_text(text + "\n", encoding="utf-8")
