"""Ranks of a run under torchrun; without torchrun there is one rank.

Every rank computes its share and gets all results. Only rank 0 prints and writes.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from utils.base.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

LAUNCHER = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # torchrun sets all of them

# Shares of a list are dealt out in advance, so ranks on unequal machines may wait for each other for hours.
TIMEOUT = timedelta(days=7)
LOST = ("onnection closed", "onnection reset", "roken pipe", "imed out", "NCCL")  # in messages of gloo and nccl


def check_launcher() -> None:
    """Raises InputError if the launcher's variables are incomplete, as clusters leave them. Empty ones are unset."""
    given = [name for name in LAUNCHER if os.environ.get(name)]
    if missing := ", ".join(name for name in LAUNCHER if given and name not in given):
        advice = f"Unset {', '.join(given)} to run one process, or start several with torchrun, which sets them all"
        raise InputError(f"The environment has {', '.join(given)}, but not {missing}. {advice}.")


def _number(name: str, alone: int) -> int:
    return int(os.environ.get(name) or alone) if all(map(os.environ.get, LAUNCHER)) else alone


def rank() -> int:
    """Rank of this process, 0 .. count()-1."""
    return _number("RANK", 0)


def count() -> int:
    return _number("WORLD_SIZE", 1)


def on_this_node() -> int:
    """Number of processes on this machine."""
    return _number("LOCAL_WORLD_SIZE", 1)


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
    """Connects the ranks by nccl (GPU) or gloo (CPU); raises ConnectionError if another rank ends early."""
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
        if not any(sign in text for sign in LOST):
            raise
        raise ConnectionError(f"Lost the connection to another process; see its messages: {text}") from error
    dist.destroy_process_group()  # after an error it would wait for ranks that wait for this one


def wait() -> None:
    """Barrier: returns when every rank has arrived."""
    if count() > 1:
        import torch.distributed as dist

        dist.barrier()


def share(batches: Sequence) -> Sequence:
    """Returns this rank's batches, every count()-th. Batches are not split, so results do not depend on the ranks."""
    return batches[rank() :: count()]


def merged(values: Tensor, device: str) -> Tensor:
    """Sums values (N, ...) over the ranks by way of `device`. Exact if each row is nonzero on one rank only."""
    if count() == 1:
        return values
    import torch.distributed as dist

    total = values.to(device)
    dist.all_reduce(total)
    return total.to(values.device)


def gathered(values: Tensor) -> Tensor:
    """Concatenates the rows (N, ...) of all ranks in rank order; gradients flow to this rank's rows only.

    If every rank computes the same loss L of the result, each gets dL/d(own rows). DistributedDataParallel averages
    parameter gradients over the ranks, so use the loss count() L to get those of one process with the whole batch.
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
    """Wraps a network in DistributedDataParallel if there are several ranks."""
    if count() == 1:
        return network
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(network)


def align(network: nn.Module) -> None:
    """Copies the weights and batch-norm statistics of rank 0 to all ranks."""
    if count() > 1:
        import torch.distributed as dist

        for tensor in network.state_dict().values():
            dist.broadcast(tensor, 0)
