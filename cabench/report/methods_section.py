"""The methods section of a report: protocol, arms, software, time, and how to reproduce it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cabench.config.files import study_elsewhere
from cabench.errors import plural
from cabench.evidence.results import Results
from cabench.records.schema import Environment, Manifest, ManifestArm, Protocol, Record
from cabench.records.spec import DataSpec, EmbedderSpec, RecipeSpec, TextSpec, TrainSpec, TrialSpec

IN_IMAGES = ("warmup", "ema_half_life")  # lengths that are counted in images seen
SHORT = 16  # digits of a hash, as shown
SEEDS = (
    "A seed fixes the order of the data, the noise, label dropout, sampling noise and each "
    "parameter's initial value, for all arms alike; differences are paired by seed."
)


# ---- protocol ----------------------------------------------------------------------------------


def protocol(results: Results, record: Record | None = None) -> list[tuple[str, str]]:
    """Rows of title and text, of a typical record or of the given one; empty ones are left out."""
    record = record or typical(results)
    rows = [] if record is None else _rows(record.spec, record.protocol, results)
    seeds = ", ".join(map(str, results.manifest.seeds))
    rows.append(("Seeds", f"{seeds}. {SEEDS}"))
    return [(title, text) for title, text in rows if text]


def typical(results: Results) -> Record | None:
    """The baseline's first complete record, else any complete one, else any."""
    complete = results.complete(results.manifest.baseline) or results.complete()
    return next(iter([*complete, *results.records.values()]), None)


def _rows(spec: TrialSpec, measured: Protocol | None, results: Results) -> list[tuple[str, str]]:
    train = spec.train
    rows = [
        ("Data", _data(train, measured)),
        ("VAE", _vae(train.data, measured)),
        ("Backbone", _backbone(train, measured)),
        ("Condition", _condition(train.model.embedder, train.text)),
        ("Training", _joined(_images_seen(spec), *_recipe(train.training))),
        ("Diffusion", listed(train.diffusion.dump())),
        ("Sampling", _sampling(spec, results)),
    ]
    if measured is not None:
        rows += _score_rows(measured)
    return [*rows, ("Held-out loss", _heldout(spec, measured))]


def _data(train: TrainSpec, measured: Protocol | None) -> str:
    data = train.data
    channels, height, width = train.model.backbone.shape
    kind = "latents" if data.vae else "images"
    return _joined(
        measured.data if measured else data.source,
        f"{kind} of {height} x {width} px, {plural(channels, 'channel')}",
        "random horizontal flips in training" if data.flip else "",
        "the generator, the probe and the scores use disjoint sets of real images",
        f"fingerprint {data.fingerprint[:SHORT]}" if data.fingerprint else "",
    )


def _vae(data: DataSpec, measured: Protocol | None) -> str:
    if data.vae is None:
        return ""
    path = place((measured.vae or {}).get("path", "")) if measured else ""
    return _joined(
        f"latents of {path}" if path else "",
        f"sha256 {data.vae.sha256[:SHORT]}",
        f"scale {_value(data.vae.scale)}",
        "drawn from the posterior at each step; samples are decoded before they are scored",
    )


def place(path: str) -> str:
    """A path or a name on the hub; of an absolute path, which differs by machine, the last part."""
    return Path(path).name if Path(path).is_absolute() else path


def _backbone(train: TrainSpec, measured: Protocol | None) -> str:
    sizes = listed(train.model.backbone.dump(), skip=("kind", "version", "shape"))
    return _joined(measured.backbone if measured else train.model.backbone.kind, sizes)


def _condition(embedder: EmbedderSpec, text: TextSpec | None) -> str:
    streams = [f"{name} ({count} classes)" for name, count in embedder.classes.items()]
    if text is not None:
        encoder = f"encoder {text.encoder} {str(text.fingerprint)[:SHORT]}"
        streams += [
            f"{name} ({encoder}, {width} wide, {text.tokens} tokens)"
            for name, width in (embedder.text or {}).items()
        ]
    vectors = embedder.vectors or {}
    streams += [f"{name} ({plural(count, 'number')})" for name, count in vectors.items()]
    streams += [
        f"{name} (map, {'x'.join(map(str, s))})" for name, s in (embedder.maps or {}).items()
    ]
    return _joined(
        ", ".join(streams),
        "timestep",
        f"embedded in {_value(embedder.width)} dimensions",
        _normalisation(embedder),
    )


def _normalisation(embedder: EmbedderSpec) -> str:
    if not embedder.normalise:
        return "not normalised"
    if not embedder.gains:
        return "each RMS-normalised"
    starts = listed({name: f"{gain:g}" for name, gain in embedder.gains.items()})
    return f"each RMS-normalised, times a learned gain that starts at {starts}"


def _recipe(recipe: RecipeSpec) -> tuple[str, str]:
    title, text = recipe.optimiser_title, listed(recipe.dump(), skip=("decay", "optimiser"))
    if recipe.decay is None:
        return title, text
    return title, f"{text}; the rate falls linearly to 0 over the last {recipe.decay.over:,} images"


def _images_seen(spec: TrialSpec) -> str:
    return f"{spec.images:,} images seen, with repetition"


def _sampling(spec: TrialSpec, results: Results) -> str:
    further = _further_guidance(results)
    return _joined(
        listed(spec.sample.dump(), skip=("recipe",)),
        f"guidance {_value(spec.guidance)}",
        f"also sampled at {further}" if further else "",
    )


def _further_guidance(results: Results) -> str:
    """'2 (seed 0)': the further guidance values, and the seeds that have them."""
    seeds: dict[float, set[int]] = {}
    for record in results.records.values():
        for guidance in record.spec.sweep:
            seeds.setdefault(guidance, set()).add(record.spec.train.seed)
    return ", ".join(
        f"{guidance:g} ({'seed' if len(of) == 1 else 'seeds'} {', '.join(map(str, sorted(of)))})"
        for guidance, of in sorted(seeds.items())
    )


def _score_rows(measured: Protocol) -> list[tuple[str, str]]:
    clip = measured.clip or {}
    kid = {name.removeprefix("kid_"): value for name, value in measured.kid.items()}
    probe = _joined(
        f"probe: {measured.probe['kind']}" if "kind" in measured.probe else "",
        listed(measured.probe, skip=("kind", "version")),
    )
    extractor = _joined(
        measured.judge,
        measured.judge_resize,
        f"fingerprint {measured.judge_fingerprint[:SHORT]}",
        f"compared with real images of split {measured.reference.split}",
        f"labels {measured.reference.labels}",
    )
    clip_score = _joined(
        place(clip.get("path", "")),
        f"weights {clip['weights'][:SHORT]}" if "weights" in clip else "",
        f"prompts: {clip['prompts']}" if "prompts" in clip else "",
    )
    return [
        ("Feature extractor", extractor),
        ("KID", listed(kid)),
        ("FID", listed(measured.fid)),
        ("Condition accuracy", probe),
        ("CLIP score", clip_score),
    ]


def _heldout(spec: TrialSpec, measured: Protocol | None) -> str:
    return _joined(
        listed(spec.score.heldout.dump()),
        f"on split {measured.heldout_split}" if measured else "",
        "the same noise for every arm",
    )


# ---- arms --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ArmDescription:
    """An arm in the methods section."""

    name: str
    model: str  # its methods, and where else it differs from the baseline


def arms(results: Results) -> list[ArmDescription]:
    """A description of each arm, in the study's order."""
    specs = arm_specs(results)
    baseline = specs.get(results.manifest.baseline)
    return [
        ArmDescription(arm.name, _model(specs.get(arm.name), baseline))
        for arm in results.manifest.run_arms
    ]


def arm_specs(results: Results) -> dict[str, TrainSpec]:
    """The spec of an arm's first trial with a record, by arm."""
    specs: dict[str, TrainSpec] = {}
    for trial in results.manifest.trials:
        if trial.key in results.records:
            specs.setdefault(trial.arm, results.records[trial.key].spec.train)
    return specs


def role_and_about(arm: ManifestArm, manifest: Manifest) -> str:
    """'baseline; DiT's adaLN-Zero': its part in the study, and what the study says of it."""
    return _joined(
        "baseline" if arm.name == manifest.baseline else "",
        "lower bound" if arm.bound else "",
        "extra" if arm.extra else "",
        "added on the command line" if arm.added else "",
        arm.about,
    )


def _model(spec: TrainSpec | None, baseline: TrainSpec | None) -> str:
    """An arm's methods with their options, and where else its model differs from the baseline's."""
    if spec is None:
        return "no record"
    methods = [f"{method.kind}({listed(method.options)})" for method in spec.model.methods]
    parts = [" + ".join(methods) or "no method"]
    if baseline is not None:
        for name in ("backbone", "embedder"):
            usual = getattr(baseline.model, name).dump()
            own = getattr(spec.model, name).dump()
            if changed := {k: v for k, v in own.items() if usual.get(k) != v}:
                parts.append(f"{name}: {listed(changed, none='none')}")
    if spec.init_salt:
        parts.append(f"init_salt {spec.init_salt}")
    return ". ".join(parts)


# ---- software, machines, time ------------------------------------------------------------------


def software(results: Results) -> list[str]:
    """Each set of versions that was used, with its number of trials where there are several."""
    return _shares(
        _joined(f"Python {e.python}", *(f"{name} {v}" for name, v in e.packages.items()))
        for e in _environments(results)
    )


def machines(results: Results) -> list[str]:
    """Each kind of machine that was used, with its number of trials where there are several."""
    return _shares(
        _joined(
            e.processor,
            e.system,
            f"device {e.device}",
            plural(e.threads, "thread"),
            *([f"{e.ranks} processes per trial"] if e.ranks else []),
        )
        for e in _environments(results)
    )


def training_time(results: Results) -> str:
    """'23 to 61 s of training per trial, 18 min in total'; '' where no record says."""
    records = results.records.values()
    seconds = sorted(r.timing["train_s"] for r in records if r.timing.get("train_s"))
    if not seconds:
        return ""
    ends = dict.fromkeys(f"{s:,.0f}" for s in (seconds[0], seconds[-1]))
    return f"{' to '.join(ends)} s of training per trial, {sum(seconds) / 60:,.0f} min in total"


def _environments(results: Results) -> list[Environment]:
    return [r.environment for r in results.records.values() if r.environment]


def _shares(texts: Iterable[str]) -> list[str]:
    counts = Counter(text for text in texts if text)
    if len(counts) < 2:
        return list(counts)
    return [f"{text} ({plural(k, 'trial')})" for text, k in counts.most_common()]


def command(manifest: Manifest) -> str:
    """The command that runs the study again."""
    scale = manifest.scale_file or manifest.scale
    study = study_elsewhere(Path(manifest.study_file)) or manifest.study_file
    words = ["cabench", "run", study, "--scale", scale]
    for setting in manifest.settings:
        words += ["--set", setting.text]
    if manifest.study.endswith(f"-{manifest.backbone}"):
        words += ["--backbone", manifest.backbone]
    first = manifest.design.first if manifest.design.until_resolved else manifest.seeds
    words += ["--seeds", _seeds(first)]
    if manifest.design.until_resolved:
        words += ["--until-resolved", "--max-seeds", str(manifest.design.most)]
    if any(arm.extra and not arm.added for arm in manifest.run_arms):
        words.append("--all-arms")
    for plugin in manifest.plugins:
        words += ["--plugin", plugin.path]
    for arm in manifest.added:
        words += ["--arm", arm]
    rivals = {claim.than for claim in manifest.claims if claim.added} - {manifest.baseline}
    for rival in sorted(rivals):
        words += ["--against", rival]
    return shlex.join(words)


def _seeds(seeds: tuple[int, ...]) -> str:
    """'3' for the seeds 0, 1, 2; else the seeds, such as '0,7' or '7,'."""
    if seeds == tuple(range(len(seeds))):
        return str(len(seeds))
    return ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")


# ---- words -------------------------------------------------------------------------------------


def listed(values: Mapping[str, Any], skip: tuple[str, ...] = (), none: str = "") -> str:
    """'batch 16; lr 0.0015; warmup 2,000 images'; None is printed as `none`, or left out."""
    parts = []
    for name, value in values.items():
        text = none if value is None else _value(value)
        if name not in skip and text:
            unit = " images" if name in IN_IMAGES and isinstance(value, int) else ""
            parts.append(f"{name.replace('_', ' ')} {text}{unit}")
    return "; ".join(parts)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        all_text = all(isinstance(v, str) for v in value)
        return (" + " if all_text else ", ").join(map(_value, value))
    if isinstance(value, dict):
        return ", ".join(f"{k} {_value(v)}" for k, v in value.items())
    return str(value)


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
