"""A static site of a results directory: a page per study and method, an index, a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cabench.analysis.verdict_text import outcome_of
from cabench.errors import CabenchError, plural
from cabench.evidence.results import Results
from cabench.records.runs import Run
from cabench.records.spec import Json
from cabench.report.assumptions import ASSUMPTIONS
from cabench.report.document import progress_notices
from cabench.runtime.files import atomic_path
from cabench.web.leaderboard import Entry, Study, counts, file_of, matrix, overview, row
from cabench.web.page import Link, study_page
from cabench.web.render import render

INDEX, LEADERBOARD = "index.html", "leaderboard.html"
LINKS = (Link("Studies", INDEX), Link("Leaderboard", LEADERBOARD))
COSTS = ("MACs, times the baseline's", "parameters, times", "training time, times")


@dataclass(frozen=True)
class Site:
    """The studies of a results directory that have a complete trial."""

    studies: Sequence[Study]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Site:
        """CabenchError where no run has a complete trial."""
        studies = [Study(run, Results.of(run, with_curves=True)) for run in runs]
        studies = [study for study in studies if study.results.complete()]
        if not studies:
            raise CabenchError("no run with records; start one with `cabench run STUDY`")
        return cls(studies)

    @property
    def entries(self) -> list[Entry]:
        return [entry for study in self.studies for entry in study.entries]

    def write(self, out: Path) -> list[Path]:
        """Write all pages; equal bytes for equal results."""
        paths = []
        for name, page in self.pages().items():
            paths.append(out / name)
            with atomic_path(paths[-1]) as part:
                part.write_text(page, encoding="utf-8")
        return paths

    def pages(self) -> dict[str, str]:
        """The pages by file name."""
        entries = self.entries
        kinds = sorted({kind for entry in entries for kind in entry.methods})
        pages = {INDEX: index_page(self.studies, kinds), LEADERBOARD: self._leaderboard(entries)}
        pages |= {file_of(kind): _method_page(kind, entries) for kind in kinds}
        for study in self.studies:
            pages[f"{study.run.name}.html"] = study_page(study.run, study.results, links=LINKS)
        return pages

    def _leaderboard(self, entries: list[Entry]) -> str:
        return render(
            "leaderboard.html",
            links=LINKS,
            current=LEADERBOARD,
            overview=overview(entries),
            rows=[row(entry) for entry in entries],
            costs=COSTS,
            file_of=file_of,
            matrices=[
                {
                    "run": study.run.name,
                    "title": study.results.manifest.study,
                    "scale": study.results.manifest.scale,
                    "metric": study.entries[0].metric,
                    **matrix(study.ranking),
                }
                for study in self.studies
                if len(study.ranking.arms) > 1
            ],
        )


def index_page(studies: Sequence[Study], kinds: Sequence[str] = ()) -> str:
    """The list of studies with their answers, and of methods."""
    return render(
        "index.html",
        links=LINKS if kinds else (),
        current=INDEX,
        studies=[card(study) for study in studies],
        kinds=[(kind, file_of(kind)) for kind in kinds],
    )


def card(study: Study) -> Json:
    """A study on the index: its question, answer and size."""
    manifest, results = study.results.manifest, study.results
    return {
        "name": study.run.name,
        "title": manifest.study,
        "scale": manifest.scale,
        "question": manifest.question,
        "outcome": outcome_of(results) or "The study states no claims.",
        "notices": progress_notices(results),
        "size": f"{plural(len(results.arms), 'arm')}, "
        f"{plural(len(manifest.seeds), 'seed')}, {plural(len(results.complete()), 'trial')}",
    }


def _method_page(kind: str, entries: Sequence[Entry]) -> str:
    own = [entry for entry in entries if kind in entry.methods]
    return render(
        "method.html",
        links=LINKS,
        current="",
        kind=kind,
        rows=[row(entry) for entry in own],
        counts=counts(own),
        studies=len({entry.run for entry in own}),
        costs=COSTS,
        file_of=file_of,
        assumptions=[text for about, text in ASSUMPTIONS if about == kind],
    )
