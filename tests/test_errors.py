"""Whose fault an error is."""

import errno

import pytest

from cabench.errors import CabenchError, DataMissing, is_machine_fault

FAULTS = (
    "ENOSPC EDQUOT EROFS EACCES EIO EFBIG ESTALE EMFILE ENFILE ENOMEM ETIMEDOUT ENOLCK ECONNRESET"
)


@pytest.mark.parametrize("name", FAULTS.split())
def test_faults_of_the_machine(name):
    fault = OSError(getattr(errno, name), "fault")
    assert is_machine_fault(fault)
    error = DataMissing("cannot be read")
    error.__cause__ = fault  # as `raise error from fault` sets it
    assert is_machine_fault(error)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "no"),
        OSError(errno.EINVAL, "an argument"),
        OSError("no number"),
        ValueError(),
        CabenchError("x"),
    ],
)
def test_faults_of_an_arm(error):
    assert not is_machine_fault(error)
