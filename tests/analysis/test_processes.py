"""Parts of a report in other processes: the same files, and errors that reach this process."""

import os
import signal

import pytest
from example_study import make_study, write_run

from cabench.analysis import figures, processes
from cabench.analysis.processes import in_processes
from cabench.errors import CabenchError
from cabench.evidence.results import Results


@pytest.fixture
def results(tmp_path):
    run = write_run(tmp_path, make_study(["native", "native+dw", "can-3"], seeds=2))
    return Results.of(run, with_curves=True)


def name_of(word, results, other):
    return f"{word} {results.manifest.study} {other}", os.getpid()


def refuse(word, results):
    raise CabenchError(f"{word}: no")


def die(word, results):
    os.kill(os.getpid(), signal.SIGKILL)


def test_calls_get_the_results_and_run_elsewhere(results):
    with in_processes(results) as submit:
        text, process = submit(name_of, "of", "now").result()
    assert text == "of layer_placement now" and process != os.getpid()


def test_errors_reach_this_process(results):
    with pytest.raises(CabenchError, match="forest: no"), in_processes(results) as submit:
        submit(refuse, "forest").result()


def test_a_killed_process_is_an_error_in_one_line(results):
    with pytest.raises(CabenchError, match="killed.*re-run"), in_processes(results) as submit:
        submit(die, "forest").result()


@pytest.mark.full
def test_processes_that_start_afresh_draw_equal_bytes(results, tmp_path, monkeypatch):
    monkeypatch.setattr(processes.sys, "platform", "darwin")
    with in_processes(results) as submit:
        there = submit(figures.cost, tmp_path / "there", figures.SCREEN).result()
    here = figures.cost(tmp_path / "here", results, figures.SCREEN)
    assert [path.read_bytes() for path in there] == [path.read_bytes() for path in here]
