"""The one trainer: any recipe, a budget of minutes, resumable, with curves and sample sheets.

The learning rate follows the share of the budget that is spent (linear warm-up, then cosine to 2 %), so ten
minutes on a GPU and two hours on two cores run the same recipe. The budget is minutes or floating-point
operations; networks that are to be compared get the same number of the latter; published recipes count steps.
Everything needed to go on after a kill is in `checkpoint.pt`.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from editar_bench.errors import UserError
from editar_bench.files import written_aside
from models.training.flops import step_flops
from models.training.machine import OneDevice, Optimizers
from models.training.optimizers import MUON_LEARNING_RATE, faster_in_bf16, make_optimizers
from models.training.progress import Progress
from models.training.recipe import Budget, Clock, Recipe, Streaming

WARM_UP = 0.03  # of the budget
# Of the full rate, where shipped weights are continued: more of it first undoes what their decay has settled. At half
# of it EditAR needed a whole run to come back to where it was; at a fifth it was ahead after half of one.
CONTINUED = 0.2
CLIP_NORM = 1.0
_CHECKPOINT_SECONDS = 120.0
_CHECKPOINT_STEPS = 1000  # where steps are the budget: processes must agree when to save


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
    schedule: Callable[[float], float] | None = None  # default: `learning_rate_share`
    machine: OneDevice | None = None  # default: the device alone
    clock: Clock = field(default_factory=Clock)
    curve: list[dict[str, float]] = field(default_factory=list)
    running: dict[str, float] = field(default_factory=dict)  # means of the last steps' figures

    def run(self) -> None:
        """Train to the end of the budget, or go on from the checkpoint of an earlier call, then export."""
        if self.machine is None:
            self.machine = OneDevice(self.device, faster_in_bf16(self.device))
        machine = self.machine
        _check_place(self.weights)
        torch.manual_seed(self.seed)
        module = self.recipe.build().to(self.device)
        if self.continue_from is not None:
            self.recipe.load(module, self.continue_from)
        optimizers = make_optimizers(module, self.recipe, self.device)
        module, optimizers = machine.prepare(module, optimizers)
        generator = torch.Generator().manual_seed(self.seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._restore(module, optimizers, generator)
        self._loop(machine, module, optimizers, generator)
        whole = machine.whole(module)
        self._measure(whole, self.running)
        if machine.main:
            self.recipe.export(whole.eval(), self.weights)
            self._write_record(machine, whole)
        machine.wait()

    def _loop(
        self,
        machine: OneDevice,
        module: nn.Module,
        optimizers: Optimizers,
        generator: torch.Generator,
    ) -> None:
        clock, schedule = self.clock, self.schedule or self._usual_schedule
        flops_a_step = self._flops_a_step(module, generator)
        progress = Progress(f"training {self.recipe.name}", 1.0, self.budget.share(clock))
        saved = time.monotonic()
        running = self.running
        while (share := self.budget.share(clock)) < 1:
            started = time.monotonic()
            module.train()
            clock.share = share
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["full_lr"] * schedule(clock.share)
                optimizer.zero_grad(set_to_none=True)
            figures = machine.gradients(module, lambda m: self.recipe.loss(m, clock, generator))
            self._check_finite(figures["loss"], machine.clip(module, CLIP_NORM))
            for optimizer in optimizers:
                optimizer.step()
            clock.step += 1
            clock.samples += self.recipe.batch_size
            for name, value in figures.items():
                running[name] = 0.98 * running.get(name, value) + 0.02 * value
            clock.flops += flops_a_step
            spent = time.monotonic() - started
            clock.seconds += spent
            clock.pace = 0.9 * (clock.pace or spent) + 0.1 * spent
            if clock.share >= len(self.curve) / self.points:
                self._measure(module, running)
            if self._save_is_due(saved):
                self._save(machine, module, optimizers, generator)
                saved = time.monotonic()
            if machine.main:
                text = "  ".join(f"{k} {v:.3f}" for k, v in (running | self._speed()).items())
                progress.step(self.budget.share(clock) - share, f"{clock.samples} samples  {text}")
        self._save(machine, module, optimizers, generator)
        if machine.main:
            progress.close()

    def _check_finite(self, loss: float, norm: float) -> None:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise UserError(
                f"train: step {self.clock.step + 1} of {self.recipe.name} has a loss of {loss:.3g} and a gradient of "
                f"length {norm:.3g}, which would spoil the weights; what was stored before is kept: look at the "
                "weights and data that it began with"
            )

    def _usual_schedule(self, share: float) -> float:
        return learning_rate_share(share) * (1.0 if self.continue_from is None else CONTINUED)

    def _flops_a_step(self, module: nn.Module, generator: torch.Generator) -> float:
        if isinstance(self.recipe, Streaming):
            return self.recipe.flops_a_step
        return step_flops(self.recipe, module, self.clock, generator)

    def _save_is_due(self, saved: float) -> bool:
        if self.budget.steps:
            return self.clock.step % _CHECKPOINT_STEPS == 0
        return time.monotonic() - saved > _CHECKPOINT_SECONDS

    def _speed(self) -> dict[str, float]:
        if isinstance(self.recipe, Streaming) and self.machine is not None and self.clock.pace:
            return self.recipe.speed(self.clock.pace, self.machine.processes)
        return {}

    def _reading(self, machine: OneDevice) -> dict[str, float]:
        """How fast a streaming recipe is, and what it had to skip, over all processes."""
        if not isinstance(self.recipe, Streaming):
            return {}
        skipped: Counter[str] = sum(machine.gathered(self.recipe.skipped()), Counter())
        return self._speed() | {f"skipped {name}": n for name, n in sorted(skipped.items())}

    def _measure(self, module: nn.Module, running: dict[str, float] | None = None) -> None:
        """Add a point to the curve and write the sample sheet; its time is not the budget's."""
        assert self.machine is not None
        module.eval()
        with torch.no_grad():
            figures = self.recipe.validate(module)
            sheet = self.recipe.sheet(module)
        figures |= self._reading(self.machine)
        clock = self.clock
        point = {"step": clock.step, "samples": clock.samples, "seconds": round(clock.seconds, 1)}
        self.curve.append({**point, **(running or {}), **figures})
        if not self.machine.main:
            return
        print(json.dumps(self.curve[-1]), flush=True)
        if sheet is not None:
            Image.fromarray(sheet).save(self.folder / "sheet.png")

    def _save(
        self,
        machine: OneDevice,
        module: nn.Module,
        optimizers: Optimizers,
        generator: torch.Generator,
    ) -> None:
        state = {
            **machine.state(module, optimizers),
            "generator": generator.get_state(),
            **random_state(self.device),
            "clock": [self.clock.step, self.clock.samples, self.clock.seconds, self.clock.flops],
            "settings": _plain(self.recipe.settings),
            "seed": self.seed,
            "continued": self.continue_from is not None,
            "finished": self.budget.share(self.clock) >= 1,
            "curve": self.curve,
            "running": self.running,
        }
        if isinstance(self.recipe, Streaming):
            state["places"] = {}
            for places in machine.gathered(self.recipe.places()):
                state["places"] |= places
        if machine.main:
            _write_checkpoint(state, self.folder / "checkpoint.pt")
        machine.wait()

    def _restore(
        self, module: nn.Module, optimizers: Optimizers, generator: torch.Generator
    ) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = _read_checkpoint(path)
        # A continuation goes on from its own checkpoint only, not from that of the run whose weights it continues.
        if self.continue_from is not None and (state["finished"] or not state["continued"]):
            return
        if state.get("settings") != _plain(self.recipe.settings):
            raise UserError(
                f"train: the checkpoint {path} was made with other settings or beside other networks "
                "than today's; delete it to start this network anew"
            )
        # Taken up, either would be recorded as what this call was asked for.
        if state["continued"] and self.continue_from is None:
            raise UserError(
                f"train: the checkpoint {path} is of a run that went on from shipped weights; go on with it by "
                "`--from weights`, or delete it to start this network anew"
            )
        seed = state.get("seed", self.seed)  # checkpoints of before do not say it
        if seed != self.seed:
            raise UserError(
                f"train: the checkpoint {path} was made with seed {seed} instead of {self.seed}; keep to that seed, "
                "choose another folder of runs, or delete it to start this network anew"
            )
        assert self.machine is not None
        self.machine.restore(module, optimizers, state)
        generator.set_state(state["generator"])
        set_random_state(self.device, state)
        self.clock = Clock(*state["clock"])
        self.curve, self.running = state["curve"], state.get("running", {})
        if isinstance(self.recipe, Streaming):
            self.recipe.go_to(state["places"])

    def _write_record(self, machine: OneDevice, module: nn.Module) -> None:
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
            "bf16": machine.bf16,
            "seed": self.seed,
            "rate_share": 1.0 if self.continue_from is None else CONTINUED,
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
        with written_aside(path) as aside:
            aside.write_text(json.dumps(record, indent=1) + "\n")


def learning_rate_share(share: float) -> float:
    """Linear warm-up over the first part of the budget, then half a cosine down to 2 %."""
    if share < WARM_UP:
        return max(share / WARM_UP, 1e-2)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP)))


def random_state(device: str) -> dict[str, torch.Tensor]:
    """Where the global generators stand: of a GPU too, whose dropout draws from one of its own."""
    state = {"torch": torch.get_rng_state()}
    if torch.device(device).type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(device: str, state: dict[str, Any]) -> None:
    """Take over what `random_state` said; a checkpoint of another kind of device says less."""
    torch.set_rng_state(state["torch"])
    if torch.device(device).type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def _plain(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _check_place(folder: Path) -> None:
    """Refuse a place for weights that cannot become a folder, before anything is trained for it.

    Raises:
        UserError: a file is there, or nothing may be written.
    """
    nearest = next(p for p in (folder, *folder.resolve().parents) if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UserError(
            f"train: weights cannot be written to {folder}, since {nearest} "
            f"{'may not be written' if nearest.is_dir() else 'is a file'}; choose another --weights"
        )


def _write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Whole or not at all.

    Raises:
        UserError: the disk is full, which torch says in words of its own.
    """
    try:
        with written_aside(path) as aside:
            torch.save(state, aside)
    except RuntimeError as error:
        raise UserError(
            f"train: the checkpoint {path} cannot be written ({str(error).splitlines()[0]}); free some space and give "
            "the same command again, which goes on from the one before"
        ) from error


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """The state of an earlier call, on the CPU.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged file fails in as many ways as torch has readers
        raise UserError(
            f"train: the checkpoint {path} cannot be read ({str(error).splitlines()[0]}); "
            "delete it to start this network anew"
        ) from error


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    import platform

    return platform.processor() or platform.machine()
