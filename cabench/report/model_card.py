"""The model card of an exported network: data, protocol, scores, cost, intended use, limits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from cabench.analysis.formatting import NONE, decimals, effect_decimals, effect_text
from cabench.analysis.summary import floor_score
from cabench.analysis.tables import markdown, pipes
from cabench.errors import listed, plural
from cabench.evidence.arms import ArmResult
from cabench.evidence.metric import Metric
from cabench.evidence.results import Results
from cabench.evidence.statistics import deviation
from cabench.plugins import Plugin
from cabench.records.schema import Record
from cabench.report import methods_section as methods
from cabench.version import __version__

CARD = """\
---
library_name: diffusers
license: other
tags: [cabench, diffusion, conditional-generation, {backbone}]
---

# {arm}, seed {seed}, of {study} at scale {scale}

A network of the study "{question}": the arm `{arm}`{about}. Trained and measured with cabench
{version}. The weights are the exponential moving average at the end of training.

## Use

```python
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained({folder}, trust_remote_code=True)
images = pipe({example}n=4).images
```

It needs `pip install cabench diffusers`. `trust_remote_code` allows `pipeline.py` of this
folder{plugins}.
Weights and the whole specification of the trial are in `network/`.{vae}{text}{classes}

## Data and protocol

{protocol}

## Scores

{scores}

{n:,} samples at guidance {guidance:g}, compared with real images of split {split}. Complete seeds
of the arm: {seeds}. The difference to `{baseline}` is paired by seed, with its 95 % {interval}
where there are several. *Real vs real* is what other real images score.

## Cost

{cost}

## Intended use

To repeat, inspect and compare ways of conditioning a diffusion transformer under this protocol.
Other uses were not tested.

## Limits

{limits}

## Licence

Training images: {licence}. Code (cabench and `pipeline.py`): MIT{but}. Whoever publishes the
weights states their licence here.

## Origin

Record `{key}`, checkpoint `{checkpoint}`, study file sha256 `{sha256}`. The study is run by:

```sh
{command}
```
"""

VAE = """

`pipe(vae_path=...)` takes the VAE of its latents, a folder or a name on the hub, unless
`network/config.json` has its name."""
TEXT = """

`pipe(text_path=...)` takes the weights of its text encoder, a folder or a name on the hub, unless
`network/config.json` has its name or the encoder comes with cabench."""


def model_card(
    results: Results,
    record: Record,
    arm: str,
    licence: str,
    folder: str,
    plugins: Sequence[Plugin] = (),
) -> str:
    """The card in Markdown, with the metadata of the Hugging Face hub on top.

    `record` is the complete record of a trial of `arm`; `licence` is that of the training images;
    `plugins` are those whose code is in the folder.
    """
    manifest, spec, protocol = results.manifest, record.spec, record.protocol
    assert protocol is not None  # of a complete record
    used = {stream for method in spec.train.model.methods for stream in method.streams}
    classes = {name: names for name, names in manifest.classes.items() if name in used and names}
    entry = manifest.arm(arm)
    packages = record.environment.packages if record.environment else {}
    seeds = sorted(other.spec.train.seed for other in results.complete(arm))
    (model,) = [each.model for each in methods.arms(results) if each.name == arm]
    rows = [["Methods", model], *map(list, methods.protocol(results, record)[:-1])]
    return CARD.format(
        arm=markdown(arm),
        seed=spec.train.seed,
        study=manifest.study,
        scale=manifest.scale,
        backbone=spec.train.model.backbone.kind,
        question=markdown(manifest.question),
        about=f" ({markdown(entry.about)})" if entry and entry.about else "",
        version=packages.get("cabench", __version__),
        folder=_quoted(folder),
        example=f"label={_quoted(classes['label'][0])}, " if "label" in classes else "",
        classes="".join(
            f"\n\nValues of `{name}`: {markdown(', '.join(names))}."
            for name, names in classes.items()
        ),
        plugins=_plugins_text(plugins),
        but=", without the plugin's" if plugins else "",
        vae=VAE if spec.train.data.vae else "",
        text=TEXT if spec.train.text else "",
        protocol=pipes(["what", "how"], rows, text=2),
        scores=_scores(results, record, arm),
        n=protocol.n,
        guidance=protocol.guidance,
        split=protocol.reference.split,
        seeds=", ".join(map(str, seeds)),
        baseline=markdown(manifest.baseline),
        interval="confidence sequence" if manifest.design.sequential else "Student-t interval",
        cost=_cost(record),
        limits="\n".join(f"- {text}" for text in _limits(results, record, len(seeds))),
        licence=markdown(licence),
        key=record.key,
        checkpoint=record.checkpoint,
        sha256=manifest.study_sha256[: methods.SHORT],
        command=methods.command(manifest),
    )


def _plugins_text(plugins: Sequence[Plugin]) -> str:
    """', with the code of my_idea.py', or ''."""
    names = listed(Path(plugin.path).name for plugin in plugins)
    return f", with the code of {markdown(names)}" if plugins else ""


def _quoted(text: str) -> str:
    """A string literal of Python; JSON's escapes are Python's, too."""
    return json.dumps(text, ensure_ascii=False)


def _scores(results: Results, record: Record, arm: str) -> str:
    """The network's scores beside those of its arm and of real images, a row per metric."""
    titles = ["metric", "this network", "the arm: mean ± standard deviation (seeds)"]
    titles += [f"the arm - {results.manifest.baseline} (seeds)", "real vs real"]
    rows = [
        _score_row(results, record, row, metric)
        for metric in results.metrics.values()
        if metric.name in record.metrics
        for row in results.compare_arms([metric.name])
        if row.arm == arm
    ]
    return pipes(titles, rows, text=1)


def _score_row(results: Results, record: Record, row: ArmResult, metric: Metric) -> Sequence[str]:
    level, effect = row.level.scaled(metric.scale), row.difference.scaled(metric.scale)
    spread = deviation(level.values) if level.n > 1 else float("nan")
    floor = floor_score(results, metric) * metric.scale
    places = decimals([level.mean], [spread])
    mean = f"{level.mean:.{places}f}" + (f" ± {spread:.{places}f}" if level.n > 1 else "")
    return [
        metric.title,
        f"{record.metrics[metric.name] * metric.scale:.{places}f}",
        f"{mean} ({level.n})",
        f"{effect_text(effect, effect_decimals(effect))} ({effect.n})" if effect.n else NONE,
        f"{floor:.{places}f}" if floor == floor else NONE,
    ]


def _cost(record: Record) -> str:
    cost, machine = record.cost, record.environment
    assert cost is not None  # of a complete record
    text = (
        f"{cost.params.total:,} parameters and {cost.macs.total:,} multiply-accumulates of one\n"
        f"forward pass of one image, {cost.macs.conditioning:,} of them for the condition."
    )
    if machine is None or "train_s" not in record.timing:
        return text
    threads = plural(machine.threads, "thread")
    seconds = f"{record.timing['train_s']:,.0f} s"
    return f"{text}\nTraining took {seconds} on {machine.processor} ({machine.device}, {threads})."


def _limits(results: Results, record: Record, seeds: int) -> list[str]:
    _, height, width = record.spec.train.model.backbone.shape
    what = "latents" if record.spec.train.data.vae else "images"
    texts = [
        f"Trained on {record.spec.images:,} {what} of {height} x {width}, with repetition; the "
        "scores describe this size and length alone.",
        f"One of {seeds} seeds: others differ by the standard deviation above."
        if seeds > 1
        else "The only complete seed of its arm, so nothing is known about the spread over seeds.",
        "It has seen no other classes, texts or sizes than those of its training data, and has the "
        "biases of that data.",
        "Equal seeds give equal bits on one type of CPU with one set of library versions only.",
    ]
    near = record.diagnostics.neighbours if record.diagnostics else None
    if near is not None:
        texts.append(
            f"{near.memorised:.1%} of its samples are nearer to one of {near.of:,} training images "
            "than 99 % of new real images are."
        )
    caveat = results.manifest.caveat
    return [*texts, markdown(caveat)] if caveat else texts
