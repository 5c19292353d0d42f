"""The processes that train and sample a trial together: rank 0 leads, the others follow it.

The leader runs the trial as if it were alone. For what all ranks compute together it sends a
function and its arguments, and every rank calls the function (`Ranks.call`). Gradients and states
travel by NCCL between GPUs and by gloo between CPUs, messages always by gloo.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cabench.errors import CabenchError, shown
from cabench.runtime.devices import exact

PATIENCE = timedelta(days=30)  # of ranks that wait for the leader, which may score for hours
CHUNK = 2**28  # bytes of a tensor that travel at a time

Value = TypeVar("Value")


@dataclass(eq=False)
class Ranks:
    """The place of this process among the `count` that share a trial."""

    rank: int = 0
    count: int = 1
    messages: Any = None  # process group of the messages; None: this process is alone
    broken: bool = False  # an error left this process during a call

    @property
    def leads(self) -> bool:
        return self.rank == 0

    # -- calls

    def call(self, function: Callable[..., Value], *arguments: Any, **of_leader: Any) -> Value:
        """`function(ranks, *arguments)` on every rank; the leader's result.

        The leader alone gets the arguments by name. A CabenchError that the function raises must be
        raised on every rank, or before the ranks exchange anything; the followers then wait for the
        next call. Any other error ends its process, and with it the group.
        """
        if self.count > 1:
            self.of_leader((function, arguments))
        return self._joint(function, arguments, of_leader)

    def follow(self) -> None:
        """Answers the leader's calls until it has no more."""
        while True:
            call = cast("tuple[Callable[..., Any], tuple] | None", self.of_leader(None))
            if call is None:
                return
            with contextlib.suppress(CabenchError):
                self._joint(*call, {})

    def dismiss(self) -> None:
        """Ends the followers' `follow`."""
        if self.count > 1 and self.leads and not self.broken:
            self.of_leader(None)

    def _joint(
        self, function: Callable[..., Value], arguments: tuple, of_leader: Mapping[str, Any]
    ) -> Value:
        if self.count == 1:
            return function(self, *arguments, **of_leader)
        error, result = None, None
        try:
            result = function(self, *arguments, **of_leader)
        except CabenchError as raised:
            error = raised
        except BaseException:
            self.broken = True
            raise
        texts: list[Any] = [None] * self.count
        dist.all_gather_object(texts, error and str(error), self.messages)
        if error is not None:
            raise error
        if faults := {rank: text for rank, text in enumerate(texts) if text is not None}:
            rank, text = next(iter(faults.items()))
            raise CabenchError(f"rank {rank}: {text}")
        return result  # pyright: ignore[reportReturnType]

    # -- what is exchanged

    def of_leader(self, value: Value) -> Value:
        """The leader's value, on every rank."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, group=self.messages)
        return values[0]

    def rows_of_leader(self, tensor: Tensor | None) -> Tensor:
        """This rank's rows of the leader's tensor on the CPU, sent without a copy of the tensor."""
        if self.count == 1:
            return cast("Tensor", tensor)
        own_kind = None if tensor is None else (tensor.shape, tensor.dtype)
        shape, dtype = cast("tuple[torch.Size, torch.dtype]", self.of_leader(own_kind))
        parts = self.parts(shape[0])
        own = parts[self.rank]
        if tensor is None:
            rows = torch.empty((own.stop - own.start, *shape[1:]), dtype=dtype)
            for chunk in _chunks(rows):
                dist.recv(chunk, 0, self.messages)
            return rows
        for rank, part in enumerate(parts[1:], start=1):
            for chunk in _chunks(tensor[part]):
                dist.send(chunk.contiguous(), rank, self.messages)
        return tensor[own]

    def gather(self, value: Value) -> list[Value]:
        """The values of all ranks in their order; [] on the followers."""
        if self.count == 1:
            return [value]
        values: list[Any] | None = [None] * self.count if self.leads else None
        dist.gather_object(value, values, dst=0, group=self.messages)
        return values or []

    def any(self, value: bool) -> bool:
        """Whether the value is true on any rank."""
        if self.count == 1:
            return value
        flag = torch.tensor(int(value))
        dist.all_reduce(flag, dist.ReduceOp.MAX, self.messages)
        return bool(flag)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the ranks, without a gradient."""
        if self.count == 1:
            return tensor
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    def tensors_of_leader(self, tensors: Mapping[str, Tensor], device: str) -> dict[str, Tensor]:
        """The leader's tensors on every rank, by name; the followers' own are ignored."""
        shapes = self.of_leader({name: (t.shape, t.dtype) for name, t in tensors.items()})
        received = {}
        for name, (shape, dtype) in shapes.items():
            if self.leads:
                received[name] = tensors[name].detach().to(device).contiguous()
            else:
                received[name] = torch.empty(shape, dtype=dtype, device=device)
            dist.broadcast(received[name], src=0)
        return received

    def part(self, n: int) -> slice:
        """This rank's rows of n: parts in the order of the ranks, equal up to one row."""
        return self.parts(n)[self.rank]

    def parts(self, n: int) -> list[slice]:
        """The rows of every rank."""
        ends = [n * rank // self.count for rank in range(self.count + 1)]
        return [slice(start, end) for start, end in itertools.pairwise(ends)]

    def wrapped(self, module: nn.Module) -> nn.Module:
        """The module; with several ranks backward passes average its gradients over them."""
        if self.count == 1:
            return module
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of a newer name in torch 2.14
            return nn.parallel.DistributedDataParallel(
                module,
                broadcast_buffers=False,  # they are constants
                gradient_as_bucket_view=True,
                # a network may have parameters that no loss reaches; those get no gradient
                find_unused_parameters=True,
            )


def _chunks(tensor: Tensor) -> Iterator[Tensor]:
    """Views of consecutive rows of a tensor, of at most CHUNK bytes each but one row at least."""
    rows = max(1, CHUNK * len(tensor) // max(1, tensor.nbytes))
    for start in range(0, len(tensor), rows):
        yield tensor[start : start + rows]


ALONE = Ranks()
_joined: list[Ranks] = []  # of this process


def current() -> Ranks:
    """The ranks that this process has joined."""
    return _joined[-1] if _joined else ALONE


@contextlib.contextmanager
def joined(
    rank: int,
    count: int,
    device: str,
    local: int = 0,
    rendezvous: Path | None = None,  # file where they meet; None: as torchrun's variables say
) -> Iterator[Ranks]:
    """Makes this process one of `count` ranks, on GPU number `local` where the device is CUDA."""
    cuda = device.startswith("cuda")
    exact(device)
    if cuda:
        torch.cuda.set_device(local)
    backend = "nccl" if cuda else "gloo"
    file_store: Any = dist.FileStore  # pyright: ignore[reportPrivateImportUsage]
    store = None if rendezvous is None else file_store(str(rendezvous), count)
    dist.init_process_group(backend, store=store, rank=rank, world_size=count)
    with adopted() as ranks:
        yield ranks
    if not ranks.broken:  # the others may never answer
        dist.destroy_process_group()


@contextlib.contextmanager
def adopted() -> Iterator[Ranks]:
    """The ranks of the process group that torch already has."""
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    ranks = Ranks(dist.get_rank(), dist.get_world_size(), group)
    _joined.append(ranks)
    try:
        yield ranks
    finally:
        _joined.remove(ranks)


def from_torchrun() -> tuple[int, int, int] | None:
    """Rank, number of ranks and rank on this node if torchrun started this process with several.

    CabenchError if its environment variables are no numbers.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    values = []
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        text = os.environ.get(name, "")
        if not text.isdecimal():
            raise CabenchError(f"{name}: expected torchrun's number, got {shown(text)}")
        values.append(int(text))
    rank, count, local = values
    return (rank, count, local) if count > 1 else None
