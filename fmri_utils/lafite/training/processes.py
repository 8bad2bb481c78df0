"""Training by several processes under torchrun, with the weights that one process would get.

Gradients are averaged by PyTorch's DistributedDataParallel. What one process computes over a whole
batch stays what it is:

* Every process draws the random numbers of the whole batch and keeps those of its own samples.
* Groups that share a minibatch standard deviation lie within one process.
* Contrastive terms see the features of the whole batch; the mean path length, the mean latent and
  the logged terms are means over it.

So a run does not depend on the number of processes (but for the order of additions), and may be
continued with another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ...project.errors import DataError
from .config import TrainingConfig


class _LossOf(nn.Module):
    """One network as DistributedDataParallel wants it: the whole loss in one forward pass.

    A loss takes several passes and gradients within; only what is outside of ``forward`` may
    reach the parameters' ``.grad``.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, loss: Callable, *arguments):
        return loss(*arguments)


@dataclass(frozen=True)
class Processes:
    """This process and how many there are; alone by default.

    Attributes
    ----------
    rank : int
        0 for the process that writes files.
    size : int
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> Processes:
        """Those of torch's process group, if there is one."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def check(self, config: TrainingConfig) -> None:
        """Refuse settings that the processes cannot share out evenly.

        Raises
        ------
        DataError
        """
        if self.size == 1:
            return
        if config.batch_summed:
            raise DataError("batch_summed needs the whole batch. Expected: one process.")
        group = min(config.discriminator.group_size, config.batch_size)
        if config.batch_size // group % self.size:
            raise DataError(
                f"batch_size is {config.batch_size}, with {self.size} processes. Expected: a "
                f"multiple of {group * self.size}, whole groups of {group} for each."
            )
        if config.path_weight > 0 and config.path_batch % self.size:
            raise DataError(
                f"the path length penalty sees {config.path_batch} samples. Expected: a multiple "
                f"of {self.size}, the processes. Change path_fraction."
            )

    def rows(self, n: int, group_size: int = 1) -> Tensor:
        """Which samples of a batch of ``n`` are this process's, ascending, (n / size,).

        Whole groups of :func:`~fmri_utils.lafite.discriminator.minibatch_deviation`, which is
        strided, so that the process's samples are a batch of the same groups.
        """
        group_size = min(group_size, n)
        groups = torch.arange(n).view(group_size, -1)  # a column is a group
        share = groups.shape[1] // self.size
        return groups[:, self.rank * share : (self.rank + 1) * share].reshape(-1)

    def mean(self, value: Tensor) -> Tensor:
        """Mean of a tensor over the processes, detached."""
        value = value.detach()
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.size
        return value

    def means(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Means of scalars, in one exchange."""
        values = torch.stack([value.detach().float() for value in terms.values()])
        return dict(zip(terms, self.mean(values), strict=True))

    def gather(self, value: Tensor) -> Tensor:
        """The processes' rows in one tensor; a gradient reaches this process's rows only."""
        if self.size == 1:
            return value
        parts = [torch.empty_like(value) for _ in range(self.size)]
        dist.all_gather(parts, value.detach().contiguous())
        parts[self.rank] = value
        return torch.cat(parts)

    def with_summed_gradient(self, loss: Tensor) -> Tensor:
        """A loss of gathered rows, which every process has: its gradient is added up, not averaged.

        DistributedDataParallel divides by the number of processes, but each has only the part of
        the gradient that goes through its own rows.
        """
        return loss if self.size == 1 else self.size * loss - (self.size - 1) * loss.detach()

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is up in any process."""
        return bool(self.mean(torch.tensor(float(flag), device=device)) > 0)

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()

    def averaged(self, network: nn.Module) -> Callable:
        """``call(loss, *arguments)``, with the network's gradients averaged over the processes.

        ``loss`` computes what is to be differentiated with the network; everything else that it
        returns must be detached.
        """
        if self.size == 1:
            return lambda loss, *arguments: loss(*arguments)
        # R1 does not see some biases, nor does the reconstruction the discriminator: hence unused.
        return DistributedDataParallel(_LossOf(network), find_unused_parameters=True)
