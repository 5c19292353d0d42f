"""The notes below a table: protocol, intervals and tests, MACs, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from cabench.errors import listed, plural
from cabench.evidence.results import Results
from cabench.records.schema import Manifest, MetricInfo, Protocol, SearchResult
from cabench.records.spec import unused_streams

PROTOCOL = (  # must agree to compare scores
    "n",
    "guidance",
    "guidance_interval",
    "autoguidance",
    "judge",
    "sampler",
    "steps",
    "images",
)
OF_ARMS = ("backbone", "training", "sampler", "steps")  # a study may vary them between arms


def footnotes(results: Results, with_caveat: bool = True) -> list[str]:
    """One string per note, in reading order; warnings first."""
    manifest = results.manifest
    notes = [*warnings(results), protocol_note(results)]
    if manifest.settings:
        notes.append(settings_note(manifest))
    models = [record.spec.train.model for record in results.records.values()]
    if unused := unused_streams(models):
        notes.append(unused_note(unused))
    notes.append(statistics_note(manifest))
    if len(manifest.seeds) == 1:
        notes.append("One seed: no interval and no test; differences may be chance.")
    if manifest.tuning:
        notes.append(tuning_note(manifest.tuning))
    if manifest.claims:
        notes.append(claims_note(manifest, with_caveat))
    if any(protocol.floor for protocol in results.protocols()):
        notes.append(
            "real vs real: another set of real images with the same n and labels, scored by the "
            "same feature extractor. Samples are as good as real when their KID is close to this "
            "value, not to 0: between sets with equal labels, KID lies slightly below 0."
        )
    notes += dict.fromkeys(info.note for info in manifest.metrics.values() if info.note)
    if _has_unseen(manifest.metrics):
        notes.append(
            "(unseen): samples conditioned on concepts that neither the generator nor the feature "
            "extractors have seen in any style; the other columns are for concepts seen in other "
            "styles."
        )
    if bounds := [arm.name for arm in manifest.run_arms if arm.bound]:
        notes.append(f"{', '.join(bounds)}: lower bound without conditions, not tested.")
    if note := cost_note(results):
        notes.append(note)
    if left_out := [arm.name for arm in manifest.arms if arm.name not in results.arms]:
        notes.append(f"Not run at scale {manifest.scale}: {', '.join(left_out)}.")
    return notes


def _has_unseen(metrics: Mapping[str, MetricInfo]) -> bool:
    return any(name.endswith("/unseen") for name in metrics)


def statistics_note(manifest: Manifest) -> str:
    """What ± and [ ] mean, and what 'better' and 'worse' rest on."""
    if manifest.design.sequential:
        intervals = (
            "Sequential design: seeds could be added after a look at earlier ones. ±: standard "
            "deviation over seeds. [ ]: 95 % confidence sequence, which holds at every look; none "
            "where seeds are too few."
        )
        test = f"an anytime-valid paired t test (g = {manifest.design.g:g})"
    else:
        intervals = "± and [ ]: 95 % Student-t interval over seeds."
        test = "a two-sided paired t test"
    unused = [seed for seed in manifest.design.earlier if seed not in manifest.seeds]
    earlier = f" Seeds {listed(map(str, unused))} of earlier runs are not used." if unused else ""
    over = (
        "Seeds vary initial values, order and noise of training, and draw half of the images to "
        "train on and half of those to be compared with; nothing is said about other images."
        if manifest.resample
        else "Seeds vary initial values, order and noise of training; the images are the same, so "
        "nothing is said about other data."
    )
    return (
        f"{intervals}{earlier} diff.: difference to {manifest.baseline}, paired by seed. 'better', "
        f"'worse': p < .05 in {test}, after Holm's correction over the arms; a difference without "
        f"either word is unresolved. {over}"
    )


def claims_note(manifest: Manifest, with_caveat: bool = True) -> str:
    """How claims are tested, and the study's caveat."""
    text = (
        "Claims were fixed before the run. They are tested on the same paired differences, with "
        "Holm's correction over the claims."
    )
    if any(len(claim.metrics) > 1 for claim in manifest.claims):
        text += " A claim over several metrics takes the largest of their p values."
    if manifest.margins:
        margins = ", ".join(f"{name} {value:g}" for name, value in manifest.margins.items())
        text += (
            f" Equivalent: within the margins ({margins}, in units of the records); small: "
            "decided, and within the margins."
        )
    if any(claim.added for claim in manifest.claims):
        text += " Added claims were not fixed before; they are corrected among themselves."
    if with_caveat and manifest.caveat:
        text += f" {manifest.caveat}"
    return text


def cost_note(results: Results) -> str:
    """What a MAC is, and who counted; '' where no record has counts."""
    counters = sorted({r.cost.macs.counter for r in results.complete() if r.cost})
    if not counters:
        return ""
    return (
        "MACs: multiply-accumulates of one forward pass of one sample, conditioning included; "
        "conditioning MACs: those added to the same backbone without conditioning; counted by "
        f"{', '.join(counters)}. images/s: training speed on the machine that ran the trial; a "
        "rough guide, not comparable across machines."
    )


def protocol_note(results: Results) -> str:
    """'Protocol (scale quick): fashion16; dit 4 deep, ...; n = 2,000 samples per trial; ...'."""
    manifest, protocols = results.manifest, results.protocols()
    parts = _protocol_parts(protocols[0]) if protocols else []
    varied = [name for name in OF_ARMS if len({getattr(p, name) for p in protocols}) > 1]
    if varied:
        first = next(arm for arm in results.arms if results.complete(arm))
        parts.append(f"values of {first}; arms vary in {listed(varied)}")
    parts.append("seeds " + ", ".join(map(str, manifest.seeds)))
    return f"Protocol (scale {manifest.scale}): {'; '.join(parts)}."


def _protocol_parts(protocol: Protocol) -> list[str]:
    return [
        protocol.data,
        protocol.backbone,
        protocol.training,
        f"{protocol.images:,} images seen",
        *([f"starts from weights {protocol.init_from[:12]}"] if protocol.init_from else []),
        f"n = {protocol.n:,} samples per trial",
        f"guidance {protocol.guidance:g}" + _guided(protocol),
        f"sampler {protocol.sampler}",
        f"{protocol.steps} sampling steps",
        f"feature extractor {protocol.judge}"
        + (f" on {protocol.judge_runs_on}" if protocol.judge_runs_on else ""),
    ]


def _guided(protocol: Protocol) -> str:
    if protocol.guidance == 1:
        return ""
    text = ""
    if (interval := protocol.guidance_interval) is not None:
        text = f" at noise levels {interval[0]:g} to {interval[1]:g}"
    if (seen := protocol.autoguidance) is not None:
        text += f" by the network after {seen:,} images"
    return text


def settings_note(manifest: Manifest) -> str:
    """'Settings that differ from scale quick (--set): training.lr 0.001 (there 0.003).'."""
    changed = ", ".join(
        f"{s.key} {json.dumps(s.value)} (there {json.dumps(s.before)})" for s in manifest.settings
    )
    return f"Settings that differ from scale {manifest.scale_file} (--set): {changed}."


def unused_note(streams: Sequence[str]) -> str:
    """'No method is conditioned on style: ...'."""
    return (
        f"No method is conditioned on {listed(streams)}: scores by it compare the samples with "
        "conditions that no network was given."
    )


def tuning_note(searches: Mapping[str, SearchResult]) -> str:
    """The footnote of tuned rates: 'Learning rates were tuned ...: native+dw 0.003, ...'."""
    one = next(iter(searches.values()))
    rates = ", ".join(f"{arm} {search.lr:g}" for arm, search in searches.items())
    return (
        f"Learning rates were tuned with equal budgets ({plural(len(one.tried), 'rate')} per arm, "
        f"{one.images:,} images each, seed {one.seed}, {one.judged}): {rates}."
    )


def _texts(protocols: Sequence[Protocol]) -> dict[str, set[str]]:
    """The different values of each part of the protocol, as JSON."""
    distinct = {json.dumps(protocol.dump(), sort_keys=True) for protocol in protocols}
    documents = [json.loads(text) for text in distinct]
    return {name: {json.dumps(d.get(name), sort_keys=True) for d in documents} for name in PROTOCOL}


def warnings(results: Results) -> list[str]:
    """A warning for each part of the protocol in which complete trials differ.

    Of what a study may vary between arms, for trials of one arm alone.
    """
    of_arms = {arm: _texts(results.protocols(arm)) for arm in results.arms}
    of_all: dict[str, set[str]] = {
        name: set().union(*(texts[name] for texts in of_arms.values())) for name in PROTOCOL
    }
    notes = []
    for name in PROTOCOL:
        for arm, texts in (of_arms if name in OF_ARMS else {None: of_all}).items():
            if len(texts[name]) > 1:
                of = "" if arm is None else f" of {arm}"
                notes.append(
                    f"WARNING: trials{of} differ in protocol '{name}' "
                    f"({' / '.join(sorted(texts[name]))}): their scores are not comparable."
                )
    return notes


def status(results: Results) -> dict[str, str]:
    """By arm: '' when all its trials are complete, else 'failed (1 of 3)', 'not run (2 of 3)'."""
    texts = {}
    for arm in results.arms:
        progress = results.progress(arm)
        counts = (("failed", progress.failed), ("not run", progress.missing))
        texts[arm] = ", ".join(f"{word} ({k} of {progress.total})" for word, k in counts if k)
    return texts
