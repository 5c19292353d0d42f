"""Two arms, or two runs of a study, side by side: what differs, and do the same trials agree?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cabench.evidence.frame import by_seed, complete_records, study_arms, tidy
from cabench.evidence.metric import Metric, primary_metric, study_metrics
from cabench.evidence.statistics import Estimate, mean_interval, paired_difference

Record = dict[str, Any]
TOLD = 4  # numbers named of a trial that disagrees
ABSENT = object()  # stands for a key that one of two specs does not have


@dataclass(frozen=True)
class Side:
    """A or B: a run, or one arm of it."""

    name: str  # as printed: the run and where it lies
    manifest: dict[str, Any]
    records: dict[str, Record]
    arm: str | None = None
    study_file: str = "same"  # or 'changed', 'gone', since the run

    @property
    def done(self) -> list[Record]:
        return complete_records(self.manifest, self.records, self.arm)

    @property
    def trials(self) -> dict[str, tuple[str, int]]:
        """(arm, seed) by key; where arms share a trial, its first."""
        named = [t for t in self.manifest["trials"] if self.arm in (None, t["arm"])]
        return {t["key"]: (t["arm"], t["seed"]) for t in reversed(named)}


@dataclass(frozen=True)
class Difference:
    path: str  # 'train.training.lr'
    a: Any  # ABSENT where a side has no such key
    b: Any

    def __str__(self) -> str:
        return f"{self.path} ({value_text(self.a)} / {value_text(self.b)})"


# ---- what differs between two specs ------------------------------------------------------------


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
        return value[:12] if is_hash else value or "''"
    return json.dumps(value)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted path; a list is a leaf."""
    leaves = {}
    for name, value in tree.items():
        inner = isinstance(value, dict) and value
        leaves |= flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return leaves


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[Difference]:
    """The leaves in which two trees differ, in their order."""
    ours, theirs = flat(a), flat(b)
    found = [Difference(p, ours.get(p, ABSENT), theirs.get(p, ABSENT)) for p in ours | theirs]
    return [d for d in found if d.a is ABSENT or d.b is ABSENT or d.a != d.b]


def protocol_differences(a: Record, b: Record) -> list[Difference]:
    """What keeps two scores from being compared: all of the specs but the model, seed and salt.

    Neither guidance values tried beside the primary one nor a metric that one side alone measured
    changes the scores that both have.
    """
    shared = set(a["spec"]["score"]["metrics"]) & set(b["spec"]["score"]["metrics"])

    def measured(record: Record) -> dict[str, Any]:
        spec = {k: v for k, v in record["spec"].items() if k != "sweep"}
        own = {"model", "seed", "init_salt"}
        versions = {k: v for k, v in spec["score"]["metrics"].items() if k in shared}
        return spec | {
            "train": {k: v for k, v in spec["train"].items() if k not in own},
            "score": spec["score"] | {"metrics": versions},
        }

    return differences(measured(a), measured(b))


def model_differences(a: Record, b: Record) -> list[Difference]:
    """How the networks differ: paths in the model's spec, methods by kind, and the initial salt."""

    def network(record: Record) -> dict[str, Any]:
        train = record["spec"]["train"]
        methods: dict[str, Any] = {}
        for method in train["model"].get("methods", []):
            kind, number = method["kind"], 2
            while kind in methods:  # the same method twice
                kind, number = f"{method['kind']} ({number})", number + 1
            own = {k: v for k, v in method.items() if k not in ("kind", "options")}
            methods[kind] = method.get("options", {}) | own
        parts = {k: v for k, v in train["model"].items() if k != "methods"}
        return parts | methods | {"init_salt": train.get("init_salt", "")}

    ours, theirs = network(a), network(b)
    one_sided = [kind for kind in ours | theirs if (kind in ours) != (kind in theirs)]
    inner = differences(
        {k: v for k, v in ours.items() if k not in one_sided},
        {k: v for k, v in theirs.items() if k not in one_sided},
    )
    whole = [Difference(k, ours.get(k, ABSENT), theirs.get(k, ABSENT)) for k in one_sided]
    return [*inner, *whole]


# ---- do the same trials agree? -----------------------------------------------------------------


@dataclass
class Agreement:
    """Trials that both sides ask for (same key), and how many are equal to the bit."""

    # fmt: off
    same: int                                 # keys in both
    of: tuple[int, int]                       # keys in A, in B
    both: int = 0                             # finished in both
    equal: dict[str, int] = field(default_factory=dict)      # part of the record -> how many
    faults: list[str] = field(default_factory=list)          # a line for each part that differs
    environments: list[Difference] = field(default_factory=list)  # of trials with a fault
    # fmt: on


PARTS = ("metrics", "spec", "cost")  # what a key promises to the bit


def agreement(a: Side, b: Side) -> Agreement:
    ours, theirs = a.trials, b.trials
    keys = [key for key in ours if key in theirs]
    found = Agreement(len(keys), (len(ours), len(theirs)), equal=dict.fromkeys(PARTS, 0))
    environments: dict[str, Difference] = {}
    for key in keys:
        pair = [side.records.get(key) for side in (a, b)]
        if any(record is None or record["status"] != "complete" for record in pair):
            continue
        found.both += 1
        one, other = pair
        for part in PARTS:
            if _bits(one[part]) == _bits(other[part]):
                found.equal[part] += 1
                continue
            arm, seed = ours[key]
            unequal = [str(d) for d in differences(one[part], other[part])]
            more = f"; and {len(unequal) - TOLD} more" if len(unequal) > TOLD else ""
            told = "; ".join(unequal[:TOLD]) + more
            found.faults.append(f"{arm}, seed {seed} ({key}), {part}: {told}")
            for d in differences(one.get("environment", {}), other.get("environment", {})):
                environments[d.path] = d
    found.environments = list(environments.values())
    return found


def _bits(content: Any) -> str:
    return json.dumps(content, sort_keys=True)


# ---- two arms ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class MetricRow:
    metric: Metric
    title: str  # without an arrow where the study doesn't say which way is better
    a: Estimate
    b: Estimate
    difference: Estimate  # A - B, paired by seed


def metric_rows(a: Side, b: Side) -> list[MetricRow]:
    """A row per metric that both arms have, in A's order, the primary one first; stored units."""
    ours, theirs = (tidy(side.manifest, side.records) for side in (a, b))
    names = list(dict.fromkeys(ours["metric"]))
    names.sort(key=lambda name: name != a.manifest["primary"])
    rows = []
    for name in names:
        one, other = by_seed(ours, a.arm, name), by_seed(theirs, b.arm, name)
        if len(one) and len(other):
            metric = metric_named(a.manifest, name)
            title = metric.title if _base(name) in a.manifest["metrics"] else metric.label
            estimates = mean_interval(one), mean_interval(other), paired_difference(one, other)
            rows.append(MetricRow(metric, title, *estimates))
    return rows


def metric_named(manifest: dict[str, Any], name: str) -> Metric:
    """Also for numbers that no table lists: 'held-out loss bin 3', 'KID@2000 guidance 2'."""
    known = study_metrics(manifest)
    if name in known:
        return known[name]
    base, rest = _base(name), name.partition("/")[2]
    rest = rest.replace("bin", "bin ") if rest.startswith("bin") else rest
    rest = f"guidance {rest[1:]}" if rest[:1] == "g" and rest[1:2].isdigit() else rest
    of = known.get(base, Metric(base, base.replace("_", " ")))
    label = f"{of.label} {rest}".strip()
    return Metric(name, label, of.higher_is_better, of.scale)


def _base(name: str) -> str:
    """'kid' of 'kid/g2'."""
    return name.partition("/")[0]


@dataclass(frozen=True)
class CostRow:
    name: str
    a: float
    b: float

    @property
    def ratio(self) -> float:
        return self.a / self.b if self.b else float("nan")


COSTS: dict[str, Callable[[Record], Any]] = {
    "MACs": lambda cost: cost["macs"].get("total"),
    "conditioning MACs": lambda cost: cost["macs"].get("conditioning"),
    "params": lambda cost: cost["params"].get("total"),
}


def cost_rows(a: Side, b: Side) -> list[CostRow]:
    """MACs of one forward of one sample, and parameters; all seeds of an arm cost the same."""
    one, other = a.done[0].get("cost"), b.done[0].get("cost")
    if not one or not other:
        return []
    rows = [CostRow(name, of(one), of(other)) for name, of in COSTS.items()]
    return [row for row in rows if row.a is not None and row.b is not None]


# ---- two runs ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ArmRow:
    arm: str
    # fmt: off
    same: int                              # trials with the same key
    of: tuple[int, int]                    # trials in A, in B
    means: dict[str, tuple[Estimate, Estimate]]   # metric -> A, B
    # fmt: on


@dataclass(frozen=True)
class Arms:
    common: list[str]
    only_a: list[str]
    only_b: list[str]


def arms(a: Side, b: Side) -> Arms:
    ours, theirs = ([arm["name"] for arm in study_arms(side.manifest)] for side in (a, b))
    return Arms(
        [arm for arm in ours if arm in theirs],
        [arm for arm in ours if arm not in theirs],
        [arm for arm in theirs if arm not in ours],
    )


def arm_rows(a: Side, b: Side, metrics: list[str]) -> list[ArmRow]:
    """A row per arm that both runs have."""
    ours, theirs = (tidy(side.manifest, side.records) for side in (a, b))
    rows = []
    for arm in arms(a, b).common:
        keys = [{t["key"] for t in side.manifest["trials"] if t["arm"] == arm} for side in (a, b)]
        means = {
            name: (
                mean_interval(by_seed(ours, arm, name)),
                mean_interval(by_seed(theirs, arm, name)),
            )
            for name in metrics
        }
        rows.append(ArmRow(arm, len(keys[0] & keys[1]), (len(keys[0]), len(keys[1])), means))
    return rows


def run_differences(a: Side, b: Side) -> list[Difference]:
    """The protocol's differences, over all arms that are done in both runs."""
    pairs = _done_pairs(a, b).values() or [(a.done[0], b.done[0])]
    found = {d.path: d for pair in pairs for d in protocol_differences(*pair)}
    return list(found.values())


def changed_models(a: Side, b: Side) -> dict[str, list[str]]:
    """Differences of the networks that have one name in both runs -> the arms that have them."""
    found: dict[str, list[str]] = {}
    for arm, pair in _done_pairs(a, b).items():
        for difference in model_differences(*pair):
            found.setdefault(str(difference), []).append(arm)
    return found


def _done_pairs(a: Side, b: Side) -> dict[str, tuple[Record, Record]]:
    """A finished record of each side, by common arm."""
    found = {
        arm: [complete_records(side.manifest, side.records, arm) for side in (a, b)]
        for arm in arms(a, b).common
    }
    return {arm: (ours[0], theirs[0]) for arm, (ours, theirs) in found.items() if ours and theirs}


def common_metrics(a: Side, b: Side, support: str) -> list[str]:
    """A's primary metric and the supporting one, where both runs measured them."""
    wanted = dict.fromkeys([primary_metric(a.manifest).name, support])
    return [n for n in wanted if n in a.manifest["metrics"] and n in b.manifest["metrics"]]
