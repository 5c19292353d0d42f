"""Scores at several lengths of training: the same trials as studies of those lengths."""

from pathlib import Path

import pytest
from conftest import TINY_SCALE
from runs import outcome

from cabench.analysis import tables
from cabench.analysis.outputs import write_outputs
from cabench.diffusion import training
from cabench.evidence.results import Results
from cabench.execution.run import Options, execute, prepare
from cabench.records.runs import find_run
from cabench.records.store import Store

DECAYED = TINY_SCALE.replace("images: 192", "images: 192, decay: 0.5")
SHORTER = TINY_SCALE.replace("images: 192", "images: 96, decay: 0.5")
GUIDED = DECAYED.replace("steps: 3", "steps: 3, guidance: 2, autoguidance: 32")
LENGTHS = DECAYED.replace("images: 192", "images: 192, lengths: [96]")


def run(folder: Path, scale: str, name: str) -> Path:
    """The results of the tiny study at a scale."""
    (folder / "scale.yaml").write_text(scale)
    root = folder / name
    options = Options(
        scale="scale.yaml",
        seeds="1",
        results=root,
        cache=folder / f"{name}-cache",
        executor="local",
    )
    execute(prepare(Path("tiny.yaml"), options))
    return root


@pytest.mark.full
def test_a_guide_has_the_bits_of_the_training_that_it_guides(tiny):
    """Of two lengths the longer continues from the trunk, and has no snapshot of its own there."""
    lengths = GUIDED.replace("images: 192", "images: 192, lengths: [96]")
    both, alone = outcome(run(tiny, lengths, "both")), outcome(run(tiny, GUIDED, "alone"))
    assert len(both) == 4 and len(alone) == 2
    assert alone.items() <= both.items()
    unconditional = outcome(run(tiny, GUIDED.replace(", autoguidance: 32", ""), "alone"))
    assert alone.items() <= unconditional.items()  # records of both runs
    assert len({record["metrics"]["kid"] for record in unconditional.values()}) == 4


def test_every_length_has_the_bits_of_a_study_of_that_length(tiny, monkeypatch):
    steps = []
    step = training.Trainer.step
    monkeypatch.setattr(
        training.Trainer, "step", lambda self, *args: steps.append(self.seen) or step(self, *args)
    )
    both = run(tiny, LENGTHS, "both")
    # 96 images, then from the trunk at 32 (the last full batch before 48) to 192, for 2 trials
    assert len(steps) == 2 * (3 + 5)
    alone = outcome(run(tiny, SHORTER, "short")) | outcome(run(tiny, DECAYED, "long"))
    assert len(alone) == 4
    assert outcome(both) == alone

    results = Results.of(find_run(both, "tiny"))
    assert list(results.by_length) == [96, 192]
    assert results.by_length[192] is results
    for images, after in results.by_length.items():
        assert {record.spec.images for record in after.complete()} == {images}
        assert len(after.complete()) == 2
    means = {n: after.by_seed("can-3", "kid").mean() for n, after in results.by_length.items()}
    assert means[96] != means[192]
    text = tables.plain(results)
    assert "C1, 96 images" in text and "C1, 192 images" in text
    written = {path.name for path in write_outputs(results, Store(both, tiny / "both-cache"))}
    assert {"lengths.csv", "lengths.png"} <= written


def test_one_length_has_no_table_of_lengths(undisturbed):
    results = Results.of(find_run(undisturbed.root / "results", "tiny"))
    assert results.by_length == {} and tables.by_length(results) == []
