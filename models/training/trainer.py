"""The one trainer: any recipe, a budget of minutes, resumable, with curves and sample sheets.

The learning rate follows the share of the budget that is spent (linear warm-up, then cosine to zero), so ten
minutes on a GPU and two hours on two cores run the same recipe. The budget is minutes or floating-point
operations; networks that are to be compared get the same number of the latter. Everything needed to go on after
a kill is in `checkpoint.pt`.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from editar_bench.errors import UserError
from editar_bench.types import Picture
from models.training.flops import step_flops
from models.training.muon import Muon, hidden_matrices
from models.training.progress import Progress

WARM_UP = 0.03  # of the budget
MUON_LEARNING_RATE = (
    0.02  # of every recipe's hidden matrices; a recipe's own rate is AdamW's, for the rest
)
BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.05  # on tensors of two or more dimensions
CLIP_NORM = 1.0
_CHECKPOINT_SECONDS = 120.0


Optimizers = list[torch.optim.Optimizer]


class Recipe(Protocol):
    """What to train: the network, its loss on the stream, how to judge it, where its files go."""

    name: str
    muon: bool  # whether Muon trains the hidden matrices; AdamW trains the rest
    learning_rate: float  # of AdamW
    batch_size: int
    settings: dict[str, Any]  # everything chosen or built upon, committed beside the weights

    def build(self) -> nn.Module:
        """The network, with all that is trained with it, freshly initialized."""

    def loss(
        self, module: nn.Module, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of one fresh batch, and the parts worth plotting."""

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Figures on the validation split; called a dozen times a run."""

    def sheet(self, module: nn.Module) -> Picture | None:
        """A picture to look at."""

    def load(self, module: nn.Module, folder: Path) -> None:
        """Read shipped weights into a fresh network, to continue from them."""

    def export(self, module: nn.Module, folder: Path) -> None:
        """Write the shipped form: safetensors in half precision and the config."""


@dataclass(slots=True)
class Clock:
    """Where a run stands: what this run has done so far, and the share of its budget that is spent."""

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may spend on its steps: minutes, or floating-point operations of forward and backward passes."""

    minutes: float = 0.0
    flops: float = 0.0

    def __post_init__(self) -> None:
        """Exactly one of the two says when to stop."""
        if (self.minutes > 0) == (self.flops > 0):
            raise ValueError("a budget is either minutes or flops, and above 0")

    def share(self, clock: Clock) -> float:
        """How much of it is spent, 0 to 1 and a little beyond."""
        if self.flops:
            return clock.flops / self.flops
        return clock.seconds / (60 * self.minutes)


@dataclass(slots=True)
class Trainer:
    """Train one recipe for a budget, keep its state in `folder`, and write the weights to `weights`."""

    recipe: Recipe
    budget: Budget
    folder: Path
    weights: Path
    device: str = "cpu"
    seed: int = 0
    continue_from: Path | None = None
    points: int = 12  # of the curve
    clock: Clock = field(default_factory=Clock)
    curve: list[dict[str, float]] = field(default_factory=list)

    def run(self) -> None:
        """Train to the end of the budget, or go on from the checkpoint of an earlier call, then export."""
        torch.manual_seed(self.seed)
        module = self.recipe.build().to(self.device)
        if self.continue_from is not None:
            self.recipe.load(module, self.continue_from)
        optimizers = make_optimizers(module, self.recipe, self.device)
        generator = torch.Generator().manual_seed(self.seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._restore(module, optimizers, generator)
        self._loop(module, optimizers, generator)
        self._measure(module)
        self.recipe.export(module.eval(), self.weights)
        self._write_record(module)

    def _loop(self, module: nn.Module, optimizers: Optimizers, generator: torch.Generator) -> None:
        clock = self.clock
        bf16 = faster_in_bf16(self.device)
        flops_a_step = step_flops(self.recipe, module, clock, generator)
        progress = Progress(f"training {self.recipe.name}", 1.0, self.budget.share(clock))
        saved = time.monotonic()
        running: dict[str, float] = {}
        while (share := self.budget.share(clock)) < 1:
            started = time.monotonic()
            module.train()
            clock.share = share
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["full_lr"] * learning_rate_share(clock.share)
                optimizer.zero_grad(set_to_none=True)
            with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=bf16):
                loss, parts = self.recipe.loss(module, clock, generator)
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), CLIP_NORM)
            for optimizer in optimizers:
                optimizer.step()
            clock.step += 1
            clock.samples += self.recipe.batch_size
            for name, value in {"loss": float(loss.detach()), **parts}.items():
                running[name] = 0.98 * running.get(name, value) + 0.02 * value
            clock.flops += flops_a_step
            clock.seconds += time.monotonic() - started
            if clock.share >= len(self.curve) / self.points:
                self._measure(module, running)
            if time.monotonic() - saved > _CHECKPOINT_SECONDS:
                self._save(module, optimizers, generator)
                saved = time.monotonic()
            text = "  ".join(f"{k} {v:.3f}" for k, v in running.items())
            progress.step(self.budget.share(clock) - share, f"{clock.samples} samples  {text}")
        self._save(module, optimizers, generator)
        progress.close()

    def _measure(self, module: nn.Module, running: dict[str, float] | None = None) -> None:
        """Add a point to the curve and write the sample sheet; its time is not the budget's."""
        module.eval()
        with torch.no_grad():
            figures = self.recipe.validate(module)
            sheet = self.recipe.sheet(module)
        clock = self.clock
        point = {"step": clock.step, "samples": clock.samples, "seconds": round(clock.seconds, 1)}
        self.curve.append({**point, **(running or {}), **figures})
        print(json.dumps(self.curve[-1]), flush=True)
        if sheet is not None:
            Image.fromarray(sheet).save(self.folder / "sheet.png")

    def _save(self, module: nn.Module, optimizers: Optimizers, generator: torch.Generator) -> None:
        state = {
            "module": module.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "generator": generator.get_state(),
            "torch": torch.get_rng_state(),
            "clock": [self.clock.step, self.clock.samples, self.clock.seconds, self.clock.flops],
            "settings": _plain(self.recipe.settings),
            "continued": self.continue_from is not None,
            "finished": self.budget.share(self.clock) >= 1,
            "curve": self.curve,
        }
        temporary = self.folder / "checkpoint.part"
        torch.save(state, temporary)
        temporary.rename(self.folder / "checkpoint.pt")

    def _restore(
        self, module: nn.Module, optimizers: Optimizers, generator: torch.Generator
    ) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = _read_checkpoint(path, self.device)
        # A continuation goes on from its own checkpoint only, not from that of the run whose weights it continues.
        if self.continue_from is not None and (state["finished"] or not state["continued"]):
            return
        if state.get("settings") != _plain(self.recipe.settings):
            raise UserError(
                f"train: the checkpoint {path} was made with other settings or beside other networks "
                "than today's; delete it to start this network anew"
            )
        module.load_state_dict(state["module"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        generator.set_state(state["generator"].cpu())
        torch.set_rng_state(state["torch"].cpu())
        self.clock = Clock(*state["clock"])
        self.curve = state["curve"]

    def _write_record(self, module: nn.Module) -> None:
        """`NAME.training.json` beside the weights: settings, counts over all continuations, and the curve."""
        file_name = f"{self.recipe.name}.training.json"
        path = self.weights / file_name
        earlier: list[dict[str, Any]] = []
        if self.continue_from is not None and (self.continue_from / file_name).exists():
            earlier = json.loads((self.continue_from / file_name).read_text())["runs"]
        run = {
            "minutes": round(self.clock.seconds / 60, 1),
            "samples": self.clock.samples,
            "steps": self.clock.step,
            "seconds": round(self.clock.seconds, 1),
            "flops": self.clock.flops,
            "device": _device_name(self.device),
            "threads": torch.get_num_threads(),
            "bf16": faster_in_bf16(self.device),
            "seed": self.seed,
            "learning_rate": self.recipe.learning_rate,
            "muon_learning_rate": MUON_LEARNING_RATE if self.recipe.muon else None,
            "batch_size": self.recipe.batch_size,
            "settings": self.recipe.settings,
            "curve": [{k: round(v, 5) for k, v in point.items()} for point in self.curve],
        }
        runs = [*earlier, run]
        record = {
            "samples_over_all_runs": sum(r["samples"] for r in runs),
            "parameters": sum(p.numel() for p in module.parameters()),
            "runs": runs,
        }
        path.write_text(json.dumps(record, indent=1) + "\n")


def learning_rate_share(share: float) -> float:
    """Linear warm-up over the first part of the budget, then half a cosine down to 2 %."""
    if share < WARM_UP:
        return max(share / WARM_UP, 1e-2)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP)))


@cache
def faster_in_bf16(device: str) -> bool:
    """Whether this device multiplies matrices faster in bfloat16: GPUs do, CPUs only with units made for it."""

    def seconds(dtype: torch.dtype) -> float:
        a = torch.randn(1024, 1024, device=device, dtype=dtype)
        best = float("inf")
        for _ in range(4):  # the first only warms up
            start = time.perf_counter()
            float((a @ a)[0, 0])  # reading a value waits for the device
            best = min(best, time.perf_counter() - start)
        return best

    return seconds(torch.bfloat16) < seconds(torch.float32)


def make_optimizers(module: nn.Module, recipe: Recipe, device: str) -> Optimizers:
    """Muon for the hidden matrices, if the recipe wants it, and AdamW for everything else.

    Each group keeps its undiminished rate under "full_lr".
    """
    hidden = hidden_matrices(module) if recipe.muon else []
    known = {id(p) for p in hidden}
    rest = [p for p in module.parameters() if p.requires_grad and id(p) not in known]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizers: Optimizers = [torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=BETAS)]
    if hidden:
        dtype = torch.bfloat16 if faster_in_bf16(device) else torch.float32
        optimizers.append(Muon(hidden, MUON_LEARNING_RATE, dtype))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return optimizers


def _plain(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _read_checkpoint(path: Path, device: str) -> dict[str, Any]:
    """The state of an earlier call.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return dict(torch.load(path, map_location=device, weights_only=True))
    except Exception as error:  # a damaged file fails in as many ways as torch has readers
        raise UserError(
            f"train: the checkpoint {path} cannot be read ({str(error).splitlines()[0]}); "
            "delete it to start this network anew"
        ) from error


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    import platform

    return platform.processor() or platform.machine()
