"""The memory of a GPU that several trials share; torch's own functions stand in for the GPU."""

import pytest
import torch

from cabench.runtime.devices import limit_memory, room_for_split

GB = 10**9


@pytest.fixture
def gpu(monkeypatch):
    """GPUs of 80 GB, of which 60 are free and this process has 2; shares that were set, by index.

    torch takes an index, or None for the current GPU: some of its functions refuse "cuda".
    """
    shares: dict[int | None, float] = {}

    def known(index):
        assert index is None or isinstance(index, int)
        return index

    own = {
        "mem_get_info": lambda index: (60 * GB, 80 * GB),
        "memory_reserved": lambda index: 2 * GB,
        "get_per_process_memory_fraction": lambda index: shares.get(known(index), 1.0),
        "set_per_process_memory_fraction": lambda part, index: shares.update({known(index): part}),
    }
    for name, function in own.items():
        assert hasattr(torch.cuda, name)
        monkeypatch.setattr(torch.cuda, name, function)
    return shares


def test_a_split_may_take_a_quarter_of_what_the_process_can_still_allocate(gpu):
    assert room_for_split("cuda") == 15 * GB  # of what is free
    limit_memory("cuda", 0.125)
    assert room_for_split("cuda") == 2 * GB  # of its share, 10 GB without the 2
    limit_memory("cuda", 0.01)
    assert room_for_split("cuda") == 0
    assert room_for_split("cpu") == room_for_split("mps") == 0


@pytest.mark.parametrize(("gpus", "share"), [(0.0, None), (0.125, 0.125), (1.0, None), (2.0, None)])
def test_a_process_is_limited_to_its_part_of_a_gpu(gpu, gpus, share):
    limit_memory("cpu", gpus)
    assert not gpu
    limit_memory("cuda", gpus)
    limit_memory("cuda:1", gpus)
    assert gpu == ({} if share is None else {None: share, 1: share})
