"""Ranks of a run under torchrun. Without torchrun there is one rank, and every function here does nothing special.

Every rank computes its share and knows all results; only rank 0 prints and writes. Torch is imported only where it is used.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

# Shares of a list are dealt out in advance, so ranks on unequal machines may wait for each other for hours.
TIMEOUT = timedelta(days=7)
LOST = ("onnection closed", "onnection reset", "roken pipe", "imed out", "NCCL")  # gloo's and nccl's lost connections


def rank() -> int:
    """Number of this process, 0 .. count()-1."""
    return int(os.environ.get("RANK", 0))


def count() -> int:
    """Number of processes."""
    return int(os.environ.get("WORLD_SIZE", 1))


def on_this_node() -> int:
    """Number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def is_first() -> bool:
    return rank() == 0


def first_only(action: Callable) -> Callable:
    """Decorates a function that only rank 0 executes; other ranks get None."""

    @functools.wraps(action)
    def on_rank_0(*arguments, **named):
        return action(*arguments, **named) if is_first() else None

    return on_rank_0


say = first_only(print)


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Connects the ranks over nccl (GPU) or gloo (CPU).

    Raises:
        ConnectionError: another rank ended early, or the GPUs cannot reach each other.
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
        text = " ".join(str(error).split())
        if any(sign in text for sign in LOST):
            raise ConnectionError(f"Lost the connection to another process, which may say why: {text}") from error
        raise
    dist.destroy_process_group()  # after an error it would wait for ranks that wait for this one


def wait() -> None:
    """Barrier: returns when every rank has arrived."""
    if count() > 1:
        import torch.distributed as dist

        dist.barrier()


def share(batches: Sequence) -> Sequence:
    """Returns this rank's batches of a list, every count()-th. Batches stay whole, so that results do not depend on the ranks."""
    return batches[rank() :: count()]


def merged(values: Tensor, device: str) -> Tensor:
    """Sums (N, ...) over the ranks. Each row is nonzero on one rank only, so the sum is exact.

    Args:
        values: (N, ...).
        device: device of the communication.
    """
    if count() == 1:
        return values
    import torch.distributed as dist

    total = values.to(device)
    dist.all_reduce(total)
    return total.to(values.device)


def gathered(values: Tensor) -> Tensor:
    """Concatenates the rows (N, ...) of all ranks in the order of the ranks; gradients flow to this rank's rows only.

    If every rank computes the same loss L of the result, each obtains dL/d(own rows). DistributedDataParallel averages the
    gradients of the parameters, so a loss of count() L makes them those of one process with the whole batch.
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
    """Wraps a network for training: gradients are averaged over the ranks, batch-norm statistics are those of rank 0."""
    if count() == 1:
        return network
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(network)


def align(network: nn.Module) -> None:
    """Copies the weights of rank 0 to all ranks, because rounding may differ between machines."""
    if count() > 1:
        import torch.distributed as dist

        for tensor in network.state_dict().values():
            dist.broadcast(tensor, 0)
