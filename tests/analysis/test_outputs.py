"""The files that a run leaves beside its manifest."""

import pytest
from example_study import make_study, write_run

from cabench.analysis import figures
from cabench.analysis.outputs import write_outputs
from cabench.evidence.results import Results

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path, make_study(["native", "native+dw", "can-3"], seeds=2), weights=True)


def test_every_figure_of_the_list_is_drawn(run):
    paths = write_outputs(Results.of(run, with_curves=True), run.store)
    assert all(path.exists() and path.parent == run.folder for path in paths)
    drawn = {path.stem for path in paths if path.suffix == ".svg"}
    one_length = {figure.name for figure in figures.STUDY_FIGURES} - {"lengths", "guidance"}
    assert drawn == one_length
    assert {"table.csv", "table.md", "samples.png", "samples.pdf"} <= {path.name for path in paths}


def test_files_are_written_again_only_for_other_results(run):
    results = Results.of(run, with_curves=True)
    paths = write_outputs(results, run.store)
    table = run.folder / "table.md"
    table.write_text("unchanged")
    assert write_outputs(results, run.store) == paths and table.read_text() == "unchanged"
    fewer = Results(results.manifest, dict(list(results.records.items())[:-1]), results.curves)
    write_outputs(fewer, run.store)
    assert table.read_text() != "unchanged"


@pytest.mark.full
def test_a_lost_file_is_drawn_again(run):
    results = Results.of(run, with_curves=True)
    write_outputs(results, run.store)
    (run.folder / "forest.png").unlink()
    write_outputs(results, run.store)
    assert (run.folder / "forest.png").exists()
