"""Two arms, or two runs of a study, side by side: what differs, and whether equal trials agree."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cabench.evidence.design import Design
from cabench.evidence.metric import SUPPORT, Metric
from cabench.evidence.results import Results
from cabench.evidence.statistics import NAN, Estimate
from cabench.records.schema import Cost, Record
from cabench.records.spec import Json

LISTED = 4  # numbers of a disagreeing trial that a message lists
HASH_DIGITS = 12  # of a hash, in a message
ABSENT = object()  # stands for a key that one of two specs does not have


@dataclass(frozen=True)
class Side:
    """A or B of a comparison: a run, or one arm of it."""

    # fmt: off
    name: str                  # as printed: the run and its directory
    results: Results
    arm: str | None = None     # None: the whole run
    study_file: str = "same"   # since the run: 'same', 'changed' or 'gone'
    # fmt: on

    @property
    def complete(self) -> list[Record]:
        return self.results.complete(self.arm)

    @property
    def trials(self) -> dict[str, tuple[str, int]]:
        """(arm, seed) by trial key; where arms share a trial, the first of them."""
        trials = [t for t in self.results.manifest.trials if self.arm in (None, t.arm)]
        return {t.key: (t.arm, t.seed) for t in reversed(trials)}


@dataclass(frozen=True)
class Difference:
    """A value in which two documents differ; ABSENT where one of them lacks it."""

    path: str  # 'train.training.lr'
    a: Any
    b: Any

    def __str__(self) -> str:
        return f"{self.path} ({value_text(self.a)} / {value_text(self.b)})"


# ---- differences between specs -----------------------------------------------------------------


def value_text(value: Any) -> str:
    """'0.001', 'v', '[1, 28, 28]', 'kind: can, rank: 4'; of a hash its first 12 digits."""
    if value is ABSENT:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{k}: {value_text(v)}" for k, v in value.items())
    if isinstance(value, list):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, str):
        is_hash = len(value) >= 32 and set(value) <= set("0123456789abcdef")
        return value[:HASH_DIGITS] if is_hash else value or "''"
    return json.dumps(value)


def flatten(tree: Json, prefix: str = "") -> Json:
    """The leaves of nested mappings by dotted path; a list is a leaf."""
    leaves: Json = {}
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            leaves |= flatten(value, f"{prefix}{name}.")
        else:
            leaves[f"{prefix}{name}"] = value
    return leaves


def differences(a: Json, b: Json) -> list[Difference]:
    """The leaves in which two trees differ, in order."""
    ours, theirs = flatten(a), flatten(b)
    pairs = [Difference(p, ours.get(p, ABSENT), theirs.get(p, ABSENT)) for p in ours | theirs]
    return [d for d in pairs if d.a is ABSENT or d.b is ABSENT or d.a != d.b]


def protocol_differences(a: Record, b: Record) -> list[Difference]:
    """What makes the scores of two trials incomparable: all of the spec but model, seed and salt.

    Further guidance values, and metrics that only one of them measured, do not affect the scores
    that both have.
    """
    shared = set(a.spec.score.metrics) & set(b.spec.score.metrics)
    return differences(_protocol(a, shared), _protocol(b, shared))


def _protocol(record: Record, metrics: set[str]) -> Json:
    spec = record.spec.dump()
    train = {k: v for k, v in spec["train"].items() if k not in ("model", "seed", "init_salt")}
    versions = {k: v for k, v in spec["score"]["metrics"].items() if k in metrics}
    score = spec["score"] | {"metrics": versions}
    how = ("guidance_interval", "autoguidance") if record.spec.guidance == 1 else ()
    sample = {k: v for k, v in spec["sample"].items() if k not in how}
    others = {k: v for k, v in spec.items() if k != "sweep"}
    return others | {"train": train, "sample": sample, "score": score}


def model_differences(a: Record, b: Record) -> list[Difference]:
    """How two models differ: values of their specs, whole methods by kind, and the initial salt."""
    ours, theirs = _model(a), _model(b)
    one_sided = [name for name in ours | theirs if (name in ours) != (name in theirs)]
    inner = differences(
        {k: v for k, v in ours.items() if k not in one_sided},
        {k: v for k, v in theirs.items() if k not in one_sided},
    )
    whole = [Difference(k, ours.get(k, ABSENT), theirs.get(k, ABSENT)) for k in one_sided]
    return [*inner, *whole]


def _model(record: Record) -> Json:
    """The model's spec with its methods by kind; a kind's second method is 'can (2)'."""
    spec = record.spec.train.model.dump()
    methods: Json = {}
    for method in spec.pop("methods"):
        name, number = method["kind"], 2
        while name in methods:
            name, number = f"{method['kind']} ({number})", number + 1
        others = {k: v for k, v in method.items() if k not in ("kind", "options")}
        methods[name] = method["options"] | others
    return spec | methods | {"init_salt": record.spec.train.init_salt}


# ---- agreement of equal trials -----------------------------------------------------------------

PARTS = ("metrics", "spec", "cost")  # parts of a record that equal keys promise to the bit


@dataclass
class Agreement:
    """Trials that both sides have (equal keys), and how many agree to the bit."""

    # fmt: off
    same: int                                 # keys in both
    of: tuple[int, int]                       # keys in A, in B
    both: int = 0                             # complete in both
    equal: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    faults: list[str] = field(default_factory=list)               # a line per part that differs
    environments: list[Difference] = field(default_factory=list)  # of trials with a fault
    # fmt: on


def agreement(a: Side, b: Side) -> Agreement:
    """Compare the records of trials that both sides have."""
    ours, theirs = a.trials, b.trials
    keys = [key for key in ours if key in theirs]
    agreement = Agreement(len(keys), (len(ours), len(theirs)))
    environments: dict[str, Difference] = {}
    for key in keys:
        one, other = a.results.records.get(key), b.results.records.get(key)
        if not (one and other and one.complete and other.complete):
            continue
        agreement.both += 1
        arm, seed = ours[key]
        one, other = one.dump(), other.dump()
        for part in PARTS:
            if _bits(one[part]) == _bits(other[part]):
                agreement.equal[part] += 1
                continue
            unequal = differences(one[part], other[part])
            agreement.faults.append(f"{arm}, seed {seed} ({key}), {part}: {_shortened(unequal)}")
            for d in differences(one["environment"], other["environment"]):
                environments[d.path] = d
    agreement.environments = list(environments.values())
    return agreement


def _bits(content: Any) -> str:
    return json.dumps(content, sort_keys=True)


def _shortened(unequal: list[Difference]) -> str:
    more = f"; and {len(unequal) - LISTED} more" if len(unequal) > LISTED else ""
    return "; ".join(map(str, unequal[:LISTED])) + more


# ---- two arms ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class MetricRow:
    """One metric of arms A and B, in stored units."""

    metric: Metric
    # fmt: off
    title: str            # without an arrow where the study doesn't say which direction is better
    a: Estimate
    b: Estimate
    difference: Estimate  # A - B, paired by seed
    # fmt: on


def design_of(a: Side, b: Side) -> Design:
    """The design of a comparison: sequential where that of either run is."""
    designs = [Design.of(side.results.manifest) for side in (a, b)]
    return next((design for design in designs if design.sequential), designs[0])


def metric_rows(a: Side, b: Side) -> list[MetricRow]:
    """A row per metric that both arms have: the primary metric first, then in A's order."""
    assert a.arm is not None and b.arm is not None
    known = a.results.metrics
    names = list(dict.fromkeys(a.results.frame["metric"]))
    names.sort(key=lambda name: name != a.results.manifest.primary)
    rows = []
    for name in names:
        ours, theirs = a.results.by_seed(a.arm, name), b.results.by_seed(b.arm, name)
        if ours.empty or theirs.empty:
            continue
        metric = metric_named(known, name)
        title = metric.title if _base(name) in known else metric.label
        design = design_of(a, b)
        estimates = design.level(ours), design.level(theirs), design.difference(ours, theirs)
        rows.append(MetricRow(metric, title, *estimates))
    return rows


def metric_named(known: Mapping[str, Metric], name: str) -> Metric:
    """A metric, or one derived from it: 'held-out loss bin 3', 'KID@2000 guidance 2'."""
    if name in known:
        return known[name]
    base, rest = _base(name), name.partition("/")[2]
    if rest.startswith("bin"):
        rest = rest.replace("bin", "bin ")
    elif rest[:1] == "g" and rest[1:2].isdigit():
        rest = f"guidance {rest[1:]}"
    of = known.get(base, Metric(base, base.replace("_", " ")))
    return Metric(name, f"{of.label} {rest}".strip(), of.higher_is_better, of.scale)


def _base(name: str) -> str:
    """'kid' of 'kid/g2'."""
    return name.partition("/")[0]


@dataclass(frozen=True)
class CostRow:
    """A cost of two arms, such as their MACs."""

    name: str
    a: int
    b: int

    @property
    def ratio(self) -> float:
        return self.a / self.b if self.b else NAN


COSTS: dict[str, Callable[[Cost], int]] = {
    "MACs": lambda cost: cost.macs.total,
    "conditioning MACs": lambda cost: cost.macs.conditioning,
    "params": lambda cost: cost.params.total,
}


def cost_rows(a: Side, b: Side) -> list[CostRow]:
    """MACs of one forward pass of one sample, and parameters; equal for all seeds of an arm."""
    one, other = a.complete[0].cost, b.complete[0].cost
    if one is None or other is None:
        return []
    return [CostRow(name, count(one), count(other)) for name, count in COSTS.items()]


# ---- two runs ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ArmRow:
    """One arm in runs A and B."""

    arm: str
    # fmt: off
    same: int                                     # trials with equal keys
    of: tuple[int, int]                           # trials in A, in B
    means: dict[str, tuple[Estimate, Estimate]]   # metric -> A, B
    # fmt: on


@dataclass(frozen=True)
class Arms:
    """The arms of two runs: in both, and in one only."""

    common: list[str]
    only_a: list[str]
    only_b: list[str]


def arms(a: Side, b: Side) -> Arms:
    """The arms that both runs have, and those that only one has."""
    ours, theirs = a.results.arms, b.results.arms
    return Arms(
        [arm for arm in ours if arm in theirs],
        [arm for arm in ours if arm not in theirs],
        [arm for arm in theirs if arm not in ours],
    )


def arm_rows(a: Side, b: Side, metrics: list[str]) -> list[ArmRow]:
    """A row per arm that both runs have."""
    rows, design = [], design_of(a, b)
    for arm in arms(a, b).common:
        ours, theirs = _keys(a, arm), _keys(b, arm)
        means = {
            name: (
                design.level(a.results.by_seed(arm, name)),
                design.level(b.results.by_seed(arm, name)),
            )
            for name in metrics
        }
        rows.append(ArmRow(arm, len(ours & theirs), (len(ours), len(theirs)), means))
    return rows


def _keys(side: Side, arm: str) -> set[str]:
    return {trial.key for trial in side.results.manifest.trials if trial.arm == arm}


def run_differences(a: Side, b: Side) -> list[Difference]:
    """Differences of the protocol, over all arms that have complete trials in both runs."""
    pairs = _complete_pairs(a, b).values() or [(a.complete[0], b.complete[0])]
    unequal = {d.path: d for pair in pairs for d in protocol_differences(*pair)}
    return list(unequal.values())


def changed_models(a: Side, b: Side) -> dict[str, list[str]]:
    """Differences between models of the same arm -> the arms that have them."""
    changes: dict[str, list[str]] = {}
    for arm, pair in _complete_pairs(a, b).items():
        for difference in model_differences(*pair):
            changes.setdefault(str(difference), []).append(arm)
    return changes


def _complete_pairs(a: Side, b: Side) -> dict[str, tuple[Record, Record]]:
    """A complete record of each side, by common arm."""
    pairs = {}
    for arm in arms(a, b).common:
        ours, theirs = a.results.complete(arm), b.results.complete(arm)
        if ours and theirs:
            pairs[arm] = ours[0], theirs[0]
    return pairs


def common_metrics(a: Side, b: Side) -> list[Metric]:
    """A's primary metric and the held-out loss, where both runs measured them."""
    known = [a.results.primary.name, SUPPORT]
    return [
        a.results.metrics[name]
        for name in dict.fromkeys(known)
        if name in a.results.metrics and name in b.results.metrics
    ]
