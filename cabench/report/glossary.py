"""A line per arm: what the study says of it, or how its model differs from an earlier arm's."""

from __future__ import annotations

from typing import Any

from cabench.evidence.results import Results
from cabench.records.spec import TrainSpec
from cabench.report.methods_section import arm_specs, listed, role_and_about

Options = dict[str, Any]
SHOWN = ("source", "sites")  # options that say what a method is conditioned on and where it acts


def glossary(results: Results) -> list[tuple[str, str]]:
    """(arm, its line) in the study's order."""
    specs = arm_specs(results)
    lines: list[tuple[str, str]] = []
    earlier: dict[str, Options] = {}
    for arm in results.manifest.run_arms:
        spec = specs.get(arm.name)
        model = "no record" if spec is None else _model(spec, earlier)
        if spec is not None:
            earlier[arm.name] = _options(spec)
        text = role_and_about(arm, results.manifest)
        lines.append((arm.name, text if arm.about else "; ".join(filter(None, (text, model)))))
    return lines


def _model(spec: TrainSpec, earlier: dict[str, Options]) -> str:
    """'as can-3, but can: generator mlp'; of the first arm with these methods, its methods."""
    own = _options(spec)
    alike = {
        name: changed
        for name, other in earlier.items()
        if (changed := _changes(own, other)) is not None
    }
    if not alike:
        return " + ".join(map(_method, spec.model.methods)) or "no method"
    name, changed = min(alike.items(), key=lambda item: len(item[1]))
    return f"as {name}, but {'; '.join(changed)}" if changed else f"the same model as {name}"


def _method(method: Any) -> str:
    """'can (source timestep + label; sites depthwise + patch_embed)'."""
    shown = listed({name: method.options.get(name) for name in SHOWN})
    return f"{method.kind} ({shown})" if shown else method.kind


def _options(spec: TrainSpec) -> Options:
    """All that makes an arm's model, by place: {'can': {...}, 'embedder': {...}, ...}."""
    parts: Options = {method.kind: dict(method.options) for method in spec.model.methods}
    parts["backbone"] = spec.model.backbone.dump()
    parts["embedder"] = spec.model.embedder.dump()
    if spec.init_salt:
        parts["initial values"] = {"salt": spec.init_salt}
    return parts


def _changes(own: Options, other: Options) -> list[str] | None:
    """'can: generator mlp' by part; None where the methods are not the same."""
    salted = {"initial values"}
    if set(own) - salted != set(other) - salted:
        return None
    changes = []
    for part, options in own.items():
        before = other.get(part, {})
        names = [*options, *(name for name in before if name not in options)]
        changed = {n: options.get(n) for n in names if options.get(n) != before.get(n)}
        if changed:
            changes.append(f"{part}: {listed(changed, none='none')}")
    return changes
