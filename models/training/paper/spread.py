"""Several processes through accelerate: every GPU a copy of the model (DDP), or a shard of it (FSDP2).

`accelerate launch` or `torchrun` start the processes; without them this is one device. Arithmetic is the same in all
cases: float32 weights, gradients and moments, bfloat16 only inside autocast. Checkpoints do not know how many
processes wrote them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)

from models.training.machine import OneDevice, Optimizers

if TYPE_CHECKING:
    from accelerate import Accelerator

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Spread(OneDevice):
    """The processes of this run.

    Args:
        accelerator: from `start`.
        bf16: whether forward passes run in bfloat16 where that is safe.
        parts: micro-batches of each process whose gradients one step adds up.
    """

    def __init__(self, accelerator: Accelerator, bf16: bool, parts: int) -> None:
        super().__init__(str(accelerator.device), bf16, parts)
        self.accelerator = accelerator
        self.main, self.processes = accelerator.is_main_process, accelerator.num_processes

    def prepare(self, module: nn.Module, optimizers: Optimizers) -> tuple[nn.Module, Optimizers]:
        """Wrap the module; the optimizers stay torch's own, with the wrapped module's parameters."""
        self._blank = _without_values(module)
        prepared, *wrapped = self.accelerator.prepare(module, *optimizers)
        return prepared, [each.optimizer for each in wrapped]

    def clip(self, module: nn.Module, norm: float) -> float:
        """Shorten the gradient over all shards to a norm; returns the one that it had."""
        return float(self.accelerator.clip_grad_norm_(module.parameters(), norm))

    def state(self, module: nn.Module, optimizers: Optimizers) -> dict[str, Any]:
        """Whole weights and moments by name, on the CPU of the main process."""
        weights, moments = get_state_dict(module, optimizers, options=_WHOLE)
        return {"module": weights, "optimizers": moments}

    def restore(self, module: nn.Module, optimizers: Optimizers, state: dict[str, Any]) -> None:
        """Take over whole weights and moments, each process its part."""
        set_state_dict(
            module,
            optimizers,
            model_state_dict=state["module"],
            optim_state_dict=state["optimizers"],
            options=_WHOLE,
        )

    def whole(self, module: nn.Module) -> nn.Module:
        """The plain module on the CPU of the main process; others get one without values."""
        state = get_model_state_dict(module, options=_WHOLE)
        if self.main:
            self._blank.load_state_dict(state, assign=True)
        return self._blank

    def gathered(self, value: Any) -> list[Any]:
        """A value of every process."""
        from accelerate.utils import gather_object

        return list(gather_object([value]))

    def wait(self) -> None:
        """Until every process is here."""
        self.accelerator.wait_for_everyone()

    def _apart(self, module: nn.Module) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self.accelerator.no_sync(module)
        return context

    def _mean(self, figures: dict[str, float]) -> dict[str, float]:
        if self.processes == 1:
            return figures
        values = torch.tensor(list(figures.values()), device=self.device)
        mean = self.accelerator.reduce(values, "mean").tolist()
        return dict(zip(figures, mean, strict=True))


def _without_values(module: nn.Module) -> nn.Module:
    """A copy on the meta device, made without copying a value."""
    values = [*module.parameters(), *module.buffers()]
    empty = {
        id(v): nn.Parameter(v.to("meta")) if isinstance(v, nn.Parameter) else v.to("meta")
        for v in values
    }
    return deepcopy(module, empty)


def start(device: str, sharded: bool) -> Accelerator:
    """Meet the other processes.

    Args:
        device: "cpu", or "cuda" for the GPU of each process.
        sharded: whether FSDP2 shards weights, gradients and moments, layer by layer.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs, FullyShardedDataParallelPlugin

    plugin = None
    if sharded:
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            auto_wrap_policy="transformer_based_wrap",
            transformer_cls_names_to_wrap=["Block"],
        )
    no_second_copy = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    return Accelerator(
        cpu=device == "cpu",
        mixed_precision="no",
        fsdp_plugin=plugin,
        kwargs_handlers=[no_second_copy],
    )
