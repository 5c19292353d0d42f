"""Export a trained network as a folder that diffusers loads: weights, config, card, pipeline."""

from __future__ import annotations

import json
import pprint
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import diffusers

from cabench.analysis.study_results import StudyResults
from cabench.api import pipeline
from cabench.api.hub import ExportedNetwork
from cabench.api.models import load_model, record_of
from cabench.errors import CabenchError, DataMissing
from cabench.planning.run_data import find_dataset, scale_of, without_draw
from cabench.plugins import Plugin, Source, read_plugins
from cabench.records.runs import Run
from cabench.records.schema import Record
from cabench.records.store import Store
from cabench.report.model_card import model_card

NETWORK = "network"  # the component of the pipeline, and its folder
PIPELINE = "pipeline"  # the file with its code
WITH_PLUGINS = """

# ---- code that the network needs ----------------------------------------------------------------

from cabench.plugins import Plugin, Source, load_plugins  # noqa: E402, F401

load_plugins({plugins})
"""
UNKNOWN = "not known here, since the data could not be loaded"


def export_model(
    folder: Path, run: Run, arm: str, seed: int, cache: Path, plugins: Iterable[Path] = ()
) -> None:
    """Write the network of a trial, whose checkpoint is in `cache`, to a new or empty `folder`.

    README.md (the model card), model_index.json, pipeline.py, and `network/` with config.json (the
    whole spec) and weights as safetensors. The code of `plugins` that the network needs is in
    pipeline.py, so that it runs only with `trust_remote_code`.
    CabenchError where the folder holds something, or as `load_model`.
    """
    record = record_of(run, Store(run.store.results, cache, run.store.reference), arm, seed)
    network = record.spec.train.model
    paths = list(plugins)
    needed = {part.plugin for part in (*network.methods, network.backbone)}
    embedded = [plugin for plugin in read_plugins(paths) if plugin.sha256 in needed]
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CabenchError(f"{folder}: expected a new or empty folder")
    study = StudyResults.of(run)
    model = load_model(study, arm, seed, cache=cache, plugins=paths)
    folder.parent.mkdir(parents=True, exist_ok=True)
    card = model_card(study.results, record, arm, _licence(run, record), folder.name, embedded)
    index = {
        "_class_name": [PIPELINE, pipeline.ConditionalPipeline.__name__],
        "_diffusers_version": diffusers.__version__,
        NETWORK: [ExportedNetwork.__module__, ExportedNetwork.__name__],
    }
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        part = Path(scratch) / folder.name
        ExportedNetwork.of(model).save_pretrained(part / NETWORK)
        (part / f"{PIPELINE}.py").write_text(pipeline_code(embedded), "utf-8")
        (part / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")
        (part / "README.md").write_text(card, "utf-8")
        if folder.exists():
            folder.rmdir()
        part.rename(folder)


def pipeline_code(plugins: Sequence[Plugin]) -> str:
    """The pipeline's file: ours, and the sources of plugins, without paths of this machine."""
    code = Path(pipeline.__file__).read_text("utf-8")
    if not plugins:
        return code
    nameless = [
        Plugin(
            Path(plugin.path).name,
            plugin.source,
            {name: Source(Path(s.path).name, s.source) for name, s in plugin.beside.items()},
        )
        for plugin in plugins
    ]
    return code + WITH_PLUGINS.format(plugins=pprint.pformat(nameless, width=96))


def _licence(run: Run, record: Record) -> str:
    """The licence of the training images."""
    try:
        return find_dataset(run, scale_of(run), without_draw(record.spec.train.data)).licence
    except (CabenchError, DataMissing):
        return UNKNOWN
