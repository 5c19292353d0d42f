"""How it was done: data, training, sampling, judging, arms, software, and the command again."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any

from cabench.evidence.frame import complete_records, study_arms

Spec = dict[str, Any]
IN_IMAGES = ("warmup", "ema_half_life")  # lengths that are counted in pictures seen


def protocol(manifest: dict[str, Any], records: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Rows of title and text; what a record does not tell is left out."""
    record = _typical(manifest, records)
    spec, told = record.get("spec", {}), record.get("protocol", {})
    train, score = spec.get("train", {}), spec.get("score", {})
    model, data = train.get("model", {}), train.get("data", {})
    embedder, probe = model.get("embedder", {}), told.get("probe", {})
    named = [f"{name} ({k} classes)" for name, k in embedder.get("classes", {}).items()]
    text = train.get("text", {})
    named += [
        f"{name} (encoder {text.get('encoder')} {str(text.get('fingerprint'))[:16]}, {width} wide, "
        f"{text.get('tokens')} tokens)"
        for name, width in embedder.get("text", {}).items()
    ]
    streams = ", ".join(named)
    reference, heldout = told.get("reference", {}), score.get("heldout", {})
    clip = told.get("clip", {})
    rows = [
        (
            "Data",
            _joined(
                told.get("data") or data.get("source"),
                _about(
                    "latents of" if data.get("vae") else "pictures of",
                    _by(model.get("backbone", {}).get("shape")),
                ),
                "mirrored at random in training" if data.get("flip") else "",
                "generator, probe and scores see three disjoint sets of real pictures" * bool(data),
                _about("fingerprint", str(data.get("fingerprint", ""))[:16]),
            ),
        ),
        (
            "VAE",
            _joined(
                _about("latents of", told.get("vae", {}).get("path")),
                _about("sha256", str(data.get("vae", {}).get("sha256", ""))[:16]),
                _about("scale", data.get("vae", {}).get("scale")),
                "drawn from the posterior at each step; samples are decoded before they are scored"
                * bool(data.get("vae")),
            ),
        ),
        (
            "Backbone",
            _joined(
                told.get("backbone"),
                listed(model.get("backbone", {}), skip=("kind", "version", "shape")),
            ),
        ),
        (
            "Condition",
            _joined(
                streams,
                "timestep" * bool(embedder),
                _about("embedded in", embedder.get("width"), "dimensions"),
                {True: "each RMS-normalised, then summed", False: "summed as they are"}.get(
                    embedder.get("normalise"), ""
                ),
            ),
        ),
        (
            "Training",
            _joined(
                _about("", spec.get("images"), "pictures seen, with repetition"),
                "AdamW" * bool(train.get("training")),
                listed(train.get("training", {})),
            ),
        ),
        ("Diffusion", listed(train.get("diffusion", {}))),
        (
            "Sampling",
            _joined(
                listed(spec.get("sample", {}), skip=("recipe",)),
                _about("guidance", spec.get("guidance")),
                _about("beside it", _guidances(records)),
            ),
        ),
        (
            "Feature extractor",
            _joined(
                told.get("judge"),
                told.get("judge_resize"),
                _about("fingerprint", str(told.get("judge_fingerprint", ""))[:16]),
                _about("against real pictures of split", reference.get("split")),
                _about("labels", reference.get("labels")),
            ),
        ),
        ("KID", listed({k.removeprefix("kid_"): v for k, v in told.get("kid", {}).items()})),
        ("FID", listed(told.get("fid", {}))),
        (
            "Condition accuracy",
            _joined(_about("probe:", probe.get("kind")), listed(probe, skip=("kind", "version"))),
        ),
        (
            "CLIP score",
            _joined(
                clip.get("path"),
                _about("weights", str(clip.get("weights", ""))[:16]),
                _about("prompts:", clip.get("prompts")),
            ),
        ),
        (
            "Held-out loss",
            _joined(
                listed(heldout),
                _about("of split", told.get("heldout_split")),
                "the same noise for every arm" * bool(heldout),
            ),
        ),
        (
            "Seeds",
            f"{', '.join(map(str, manifest['seeds']))}. A seed fixes the order of the data, "
            "noise, label dropout, sampling noise and each parameter's initial value, for "
            "all arms alike; differences are paired by seed.",
        ),
    ]
    return [[title, text] for title, text in rows if text]


def _typical(manifest: dict[str, Any], records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The baseline's first finished record, else any finished, else any."""
    done = complete_records(manifest, records, manifest["baseline"])
    done = done or complete_records(manifest, records) or list(records.values())
    return done[0] if done else {}


def _guidances(records: dict[str, dict[str, Any]]) -> str:
    """'2 (seed 0)': the other guidance values, and the seeds that have them."""
    seeds: dict[float, set[int]] = {}
    for record in records.values():
        spec = record.get("spec", {})
        for guidance in spec.get("sweep", []):
            seeds.setdefault(guidance, set()).add(spec["train"]["seed"])
    return ", ".join(
        f"{g:g} (seed{'s' * (len(found) > 1)} {', '.join(map(str, sorted(found)))})"
        for g, found in sorted(seeds.items())
    )


# ---- arms --------------------------------------------------------------------------------------


def arms(manifest: dict[str, Any], records: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """Each arm's name, what the study says of it, and its model in a line."""
    keys = {}
    for trial in manifest["trials"]:
        if trial["key"] in records:
            keys.setdefault(trial["arm"], trial["key"])
    baseline = _spec(records, keys.get(manifest["baseline"]))
    return [
        {
            "name": arm["name"],
            "about": _about_arm(arm, manifest),
            "model": _model(_spec(records, keys.get(arm["name"])), baseline),
        }
        for arm in study_arms(manifest)
    ]


def _spec(records: dict[str, dict[str, Any]], key: str | None) -> Spec:
    return records[key].get("spec", {}).get("train", {}) if key else {}


def _about_arm(arm: dict[str, Any], manifest: dict[str, Any]) -> str:
    marks = [
        "baseline" if arm["name"] == manifest["baseline"] else "",
        "lower bound" if arm.get("bound") else "",
        "extra" if arm.get("extra") else "",
        "added on the command line" if arm.get("added") else "",
    ]
    return "; ".join(part for part in (*marks, arm.get("about", "")) if part)


def _model(spec: Spec, baseline: Spec) -> str:
    """Its methods with their options, and where else it departs from the baseline."""
    if not spec.get("model"):
        return "no record"
    model = spec["model"]
    methods = [f"{m['kind']}({listed(m.get('options', {}))})" for m in model["methods"]]
    parts = [" + ".join(methods) or "no method"]
    for part in ("backbone", "embedder"):
        usual = baseline.get("model", {}).get(part, {})
        other = {k: v for k, v in model[part].items() if usual and usual.get(k) != v}
        parts += [f"{part}: {listed(other, none='none')}"] * bool(other)
    parts += [f"init_salt {spec['init_salt']}"] * bool(spec.get("init_salt"))
    return ". ".join(parts)


# ---- software, machines, time ------------------------------------------------------------------


def software(records: list[dict[str, Any]]) -> list[str]:
    """Each set of versions that was used, and for how many trials where it is not all."""
    return _shares(
        _joined(
            f"Python {e['python']}" if "python" in e else "",
            *(f"{name} {version}" for name, version in e.get("packages", {}).items()),
        )
        for e in _environments(records)
    )


def machines(records: list[dict[str, Any]]) -> list[str]:
    return _shares(
        _joined(
            e.get("processor"),
            e.get("system"),
            _about("device", e.get("device")),
            _about("", e.get("threads"), "thread" + "s" * (e.get("threads") != 1)),
        )
        for e in _environments(records)
    )


def training_time(records: list[dict[str, Any]]) -> str:
    """'23 to 61 s of training a trial, 18 min in all'; '' where no trial says."""
    found = sorted(s for r in records if (s := r.get("timing", {}).get("train_s")))
    if not found:
        return ""
    ends = list(dict.fromkeys(f"{s:,.0f}" for s in (found[0], found[-1])))
    return f"{' to '.join(ends)} s of training a trial, {sum(found) / 60:,.0f} min in all"


def _environments(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r["environment"] for r in records if r.get("environment")]


def _shares(texts: Any) -> list[str]:
    counts = Counter(text for text in texts if text)
    if len(counts) < 2:
        return list(counts)
    return [f"{text} ({k} trials)" for text, k in counts.most_common()]


def command(manifest: dict[str, Any]) -> str:
    """What runs the study again."""
    seeds = manifest["seeds"]
    counted = seeds == list(range(len(seeds)))
    listed_ = ",".join(map(str, seeds)) + "," * (len(seeds) == 1)
    scale = manifest.get("scale_file", manifest["scale"])
    words = ["cabench", "run", manifest["study_file"], "--scale", scale]
    if manifest["study"].endswith(f"-{manifest.get('backbone')}"):
        words += ["--backbone", manifest["backbone"]]
    words += ["--seeds", str(len(seeds)) if counted else listed_]
    extra = [a for a in study_arms(manifest) if a.get("extra") and not a.get("added")]
    words += ["--all-arms"] if extra else []
    for plugin in manifest.get("plugins", []):
        words += ["--plugin", plugin["path"]]
    for arm in manifest.get("added", []):
        words += ["--arm", arm]
    return shlex.join(words)


# ---- words -------------------------------------------------------------------------------------


def listed(told: dict[str, Any], skip: tuple[str, ...] = (), none: str = "") -> str:
    """'batch 16; lr 0.0015; warmup 2,000 images': what is None is left out unless it has a word."""
    parts = []
    for key, value in told.items():
        text = none if value is None else _value(value)
        if key not in skip and text:
            unit = " images" if key in IN_IMAGES and isinstance(value, int) else ""
            parts.append(f"{key.replace('_', ' ')} {text}{unit}")
    return "; ".join(parts)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"
    if isinstance(value, list | tuple):
        return (" + " if all(isinstance(v, str) for v in value) else ", ").join(map(_value, value))
    if isinstance(value, dict):
        return ", ".join(f"{k} {_value(v)}" for k, v in value.items())
    return str(value)


def _about(before: str, value: Any, after: str = "") -> str:
    """The value with words around it, or '' without a value."""
    if value in (None, "", []):
        return ""
    return " ".join(part for part in (before, _value(value), after) if part)


def _by(shape: Any) -> str:
    """(1, 16, 16) -> '16 x 16, 1 channel'."""
    if not shape:
        return ""
    channels, height, width = shape
    return f"{height} x {width} px, {channels} channel{'s' * (channels != 1)}"


def _joined(*parts: Any) -> str:
    return "; ".join(str(part) for part in parts if part)
