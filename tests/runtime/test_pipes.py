"""Pipes instead of files that a user names: one line. Opening one would block."""

import os

import pytest

from cabench.config.yaml import Document
from cabench.data.metadata import _rows
from cabench.data.sources.cifar10 import read_batch
from cabench.diffusion.initial import read_weights
from cabench.errors import CabenchError
from cabench.metrics.reference_statistics import read_statistics


def read_metadata(path):
    problems = []
    assert list(_rows(str(path), problems)) == []
    (problem,) = problems
    raise CabenchError(problem)


READERS = {
    "weights": read_weights,
    "prediction": lambda path: Document.read(path, "prediction"),
    "CIFAR-10": read_batch,
    "statistics": lambda path: read_statistics(path, 8),
    "metadata": read_metadata,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_pipe_is_refused(tmp_path, reader, suffix):
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    with pytest.raises(CabenchError, match="pipe.*not a (regular )?file"):
        READERS[reader](path)
