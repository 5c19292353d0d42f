"""The verb `report`: PDF, CSV and Markdown of one run, from its manifest and records."""

from __future__ import annotations

import json
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import typst

from cabench.analysis import figures, tables
from cabench.analysis.grids import Drawn, drawn
from cabench.errors import CabenchError
from cabench.evidence.frame import complete_records, tidy
from cabench.records.runs import Run, find_run
from cabench.records.sample_grid import read_grid
from cabench.records.schema import GridLayout
from cabench.records.store import NEAR
from cabench.report.document import content, progress_notices
from cabench.runtime.files import atomic_path

CLASSES = 10  # columns of a sample grid at most
MANY = 12  # arms: from here on each has a row of samples less


def show_report(study: str, scale: str | None, results: Path, out: Path) -> None:
    """Writes the report of a run found by name; prints the paths, and what to know of them."""
    run = find_run(results, study, scale)
    paths = write_report(run, out)
    for notice in progress_notices(run.told, run.records()):
        print(f"{run.name}: {notice}")
    if run.study_file_state != "same":
        print(
            f"{run.name}: the study file is {run.study_file_state} since the run; "
            "the report is of what was run"
        )
    print("Written:", *(f"  {path}" for path in paths), sep="\n")


def write_report(run: Run, out: Path) -> list[Path]:
    """Writes STUDY.SCALE.pdf, .csv (arm x seed x metric), .arms.csv (arm x metric) and .md."""
    records = run.records()
    if not records:
        raise CabenchError(
            f"no record of {run.name} in {run.store.results} yet: "
            f"start with cabench run {run.told['study_file']}"
        )
    ends = (".pdf", ".csv", ".arms.csv", ".md")
    pdf, long, arms, text = (out / f"{run.name}{end}" for end in ends)
    with atomic_path(pdf) as part:
        part.write_bytes(compile_pdf(run, records))
    with atomic_path(long) as part:
        tidy(run.told, records).to_csv(part, index=False)
    tables.to_csv(run.told, records, arms)
    with atomic_path(text) as part:
        part.write_text(tables.to_markdown(run.told, records), encoding="utf-8")
    return [pdf, long, arms, text]


def compile_pdf(run: Run, records: dict[str, dict[str, Any]]) -> bytes:
    """The PDF's bytes: equal for equal manifest, records and curves.

    Texts reach the template as JSON, so that nothing in them is read as markup; only the fonts in
    the wheel are used, and no date is written.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = content(run.told, records) | pictures(run, records, folder)
        (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
        template = resources.files("cabench.report") / "report.typ"
        (folder / "report.typ").write_bytes(template.read_bytes())
        return typst.compile(
            folder / "report.typ", root=folder, format="pdf", ignore_system_fonts=True
        )


def pictures(run: Run, records: dict[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Draws all figures into the folder; says which there are."""
    curves = run.store.curves(records)
    drawings = {
        "forest": records,
        "cost": records,
        "curves": curves,
        "bins": records,
        "weights": curves,
        "weight_curves": curves,
    }
    drawn_here = {
        name: bool(getattr(figures, name)(folder / name, run.told, source, figures.PAGE))
        for name, source in drawings.items()
    }
    sheets = drawn(run.told, records, run.store)
    samples = None if sheets is None else _strips(run.told, sheets, folder)
    return {"figures": drawn_here, "samples": samples, "near": _near(run, records, folder)}


def _near(run: Run, records: dict[str, dict[str, Any]], folder: Path) -> dict[str, Any] | None:
    """A picture per arm: one seed's samples that come nearest to training pictures, above these."""
    strips, of = [], 0
    for i, arm in enumerate(a["name"] for a in run.told["arms"]):
        done = [
            record
            for record in complete_records(run.told, records, arm)
            if record.get("diagnostics", {}).get("neighbours")
        ]
        if not done:
            continue
        told = [record["diagnostics"]["neighbours"] for record in done]
        shares, ratios = ([t[name] for t in told] for name in ("memorised", "ratio"))
        of = told[0]["of"]
        strip = {
            "name": arm,
            "file": None,
            "ratio": None,
            "text": (
                f"copies {100 * np.mean(shares):.1f} %; median distance {np.mean(ratios):.2f}; "
                f"{len(done)} seed{'s' * (len(done) > 1)}"
            ),
        }
        path = run.store.whole_beside(done[0], NEAR)
        if path is not None:
            shown = read_grid(path, GridLayout.model_validate(told[0]["sheet"]))
            strip["file"] = f"near{i}.png"
            figures.strip(folder / strip["file"], shown)
            strip["ratio"] = shown.shape[1] * shown.shape[3] / (shown.shape[0] * shown.shape[4])
        strips.append(strip)
    return {"strips": strips, "of": f"{of:,}"} if strips else None


def _strips(manifest: dict[str, Any], sheets: Drawn, folder: Path) -> dict[str, Any]:
    """A picture per arm: the same seed, classes and noise in the same cells; or, of a study of
    text, one with the prompts below.
    """
    arms = [arm["name"] for arm in manifest["arms"]]
    if sheets.unseen is not None:
        (drawn_to,) = figures.prompted(folder / "prompts.png", arms, sheets)
        return {"prompts": drawn_to.name, "seed": sheets.seed}
    blocks = {"real pictures": sheets.real} if sheets.real is not None else {}
    blocks |= {arm: sheets.samples.get(arm) for arm in arms}
    held = [images.shape[1] for images in blocks.values() if images is not None]
    rows = min(3 if len(arms) < MANY else 2, *held)
    kinds = len(sheets.classes)
    columns = sorted(set(np.linspace(0, kinds - 1, min(CLASSES, kinds)).round().astype(int)))
    strips = []
    for i, (name, images) in enumerate(blocks.items()):
        file, ratio = None, None
        if images is not None:
            shown, file = images[columns, :rows], f"strip{i}.png"
            figures.strip(folder / file, shown)
            ratio = rows * shown.shape[3] / (len(columns) * shown.shape[4])
        strips.append({"name": name, "file": file, "ratio": ratio})
    chosen = [sheets.classes[c] for c in columns]
    return {"strips": strips, "classes": chosen, "of": kinds, "seed": sheets.seed, "prompts": None}
