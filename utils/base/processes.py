"""One process or many: who this process is, and what the processes tell each other.

`torchrun --nproc-per-node=N script.py` starts N processes and describes them in the environment. Without torchrun everything here
is the identity, so no caller asks which of the two it is. Every process computes its share and knows all results; process 0 alone
prints, and writes what all share.

Torch is imported where processes meet, not here: a script that computes nothing asks who it is too, and starts at once.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# torchrun stops the others when a process dies; this bounds the wait where it cannot know (a node lost its network). Shares of a list are
# dealt out beforehand, so of a run of many hours on unequal machines the first process may wait for the last by hours.
TIMEOUT = timedelta(days=7)
LOST = (
    "onnection closed",
    "onnection reset",
    "roken pipe",
    "imed out",
    "NCCL",
)  # how gloo and nccl tell that another process is gone


def rank() -> int:
    """This process's number, 0 .. count()-1."""
    return int(os.environ.get("RANK", 0))


def count() -> int:
    """The number of processes."""
    return int(os.environ.get("WORLD_SIZE", 1))


def on_this_node() -> int:
    """The number of processes on this machine, which share its processors."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def is_first() -> bool:
    """Whether this is the process that writes what all share."""
    return rank() == 0


def first_only(action: Callable[Arguments, Result]) -> Callable[Arguments, Result | None]:
    """A function that process 0 alone carries out; elsewhere it does nothing and returns None."""

    @functools.wraps(action)
    def carried_out(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result | None:
        return action(*arguments, **named) if is_first() else None

    return carried_out


say = first_only(print)


def own_device(device: str) -> str:
    """The device of this process: where each machine has several GPUs, every process takes its own."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and "LOCAL_RANK" in os.environ else device


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Joins the processes, over nccl on GPUs and gloo on CPUs, for the time of a with block.

    Raises:
        ConnectionError: another process ended before its time, or the GPUs do not reach each other.
    """
    if count() == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=TIMEOUT)
    try:
        yield
    except RuntimeError as error:
        if any(sign in str(error) for sign in LOST):
            text = " ".join(str(error).split())  # nccl says so of every fault, its own too
            raise ConnectionError(
                f"The connection to another process broke; that process says why, or else this does: {text}"
            ) from error
        raise
    dist.destroy_process_group()  # not after an error: it would wait for processes that wait for this one


def wait() -> None:
    """Waits until every process is here."""
    if count() > 1:
        import torch.distributed as dist

        dist.barrier()


def share(batches: Sequence) -> Sequence:
    """This process's part of a list of batches: every count()-th. Whole batches, so that each is computed as one process would."""
    return batches[rank() :: count()]


def parts_of(batch: Sequence[int]) -> list[list[int]]:
    """One batch dealt out to the processes in turn; the last get one item less where it does not divide, or none."""
    return [list(batch[start :: count()]) for start in range(count())]


def merged(values: Tensor, device: str) -> Tensor:
    """The rows of all processes in one tensor.

    Args:
        values: (N, ...); rows of other processes' batches are 0, so that the sum over the processes is exact.
        device: where the processes meet.
    """
    if count() == 1:
        return values
    import torch.distributed as dist

    met = values.to(device)
    dist.all_reduce(met)
    return met.to(values.device)


def gathered(values: Tensor) -> Tensor:
    """The rows of all processes, (count() N, ...), in the order of the processes; the gradient flows to this process's own rows.

    If every process computes the same loss L of what is gathered, each holds the whole of dL/d(own rows): DistributedDataParallel
    averages the parameters' gradients, so a loss of count() L makes them those of one process with the whole batch.

    Args:
        values: (N, ...), of the same shape in every process.
    """
    if count() == 1:
        return values
    import torch
    import torch.distributed as dist

    rows = [torch.empty_like(values) for _ in range(count())]
    dist.all_gather(rows, values.detach().contiguous())
    rows[rank()] = values
    return torch.cat(rows)


def replicated(network: nn.Module) -> nn.Module:
    """The network for training: gradients are averaged over the processes, batch-norm statistics are those of process 0."""
    if count() == 1:
        return network
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(network)


def align(network: nn.Module) -> None:
    """Gives every process the weights of process 0, so that no difference of rounding between machines lets them drift apart."""
    if count() > 1:
        import torch.distributed as dist

        for tensor in network.state_dict().values():
            dist.broadcast(tensor, 0)
