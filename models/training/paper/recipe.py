"""The published recipe: five sources by their shares, joint dropout, DINOv2 distillation, AdamW at a constant rate.

Facts: arXiv 2501.04699, its `train_edit.py` and `train.sh`. Random numbers of a micro-batch follow from the seed, its
lane and the number of its first sample, so that a resumed run, and one on more processes, draws the same ones.
Legend: B samples of a micro-batch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from editar_bench.errors import UserError
from editar_bench.files import written_aside
from editar_bench.types import Picture
from models.editar.checkpoint import TRAINING_ONLY, misfit, read_state, save_half
from models.editar.config import TransformerConfig
from models.editar.distillation import DISTILLATION_WEIGHT, Alignment
from models.editar.objective import Objective
from models.editar.transformer import Transformer, joint_dropout
from models.training.paper.estimate import flops_a_sample, peak_flops, positions
from models.training.paper.frozen import Frozen
from models.training.paper.published import BATCH, LANES, LEARNING_RATE, SEED
from models.training.paper.sources import Source
from models.training.paper.stream import MicroBatch, Stream, integer
from models.training.recipe import Clock

_NETWORK, _CONDITIONS = (
    4,
    5,
)  # what a seed is for: dropout inside the network, dropped texts and pictures
_NULL_PICTURE = "img_uncond_embedding"  # EditAR's own; LlamaGen's file has none


def constant(share: float) -> float:
    """The published schedule: no warm-up, no decay."""
    return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a run may choose; everything else is as published."""

    config: TransformerConfig
    start: Path | None  # weights of LlamaGen or EditAR to begin with; None for random ones
    teacher_width: int
    batch: int = BATCH
    lanes: int = LANES
    seed: int = SEED
    recompute: bool = False
    precision: str = "bf16"


class PaperRecipe:
    """Trains the transformer of EditAR on a stream.

    Args:
        choices: of this run.
        sources: what the stream reads, for the record.
        stream: this process's lanes.
        frozen: codec, text encoder and teacher.
        files: sha256 of what those were loaded from, for the record.
    """

    name = "editar-paper"
    muon = False
    learning_rate = LEARNING_RATE

    def __init__(
        self,
        choices: Choices,
        sources: tuple[Source, ...],
        stream: Stream,
        frozen: Frozen,
        files: Mapping[str, str],
    ) -> None:
        self.choices, self.stream, self.frozen = choices, stream, frozen
        self.batch_size = choices.batch
        self.flops_a_step = choices.batch * flops_a_sample(choices.config, choices.teacher_width)
        self.settings: dict[str, Any] = {
            "transformer": asdict(choices.config),
            "start": choices.start.name if choices.start else None,
            "shares": {source.name: source.share for source in sources},
            "distillation_weight": DISTILLATION_WEIGHT,
            "lanes": choices.lanes,
            "batch": choices.batch,
            "precision": choices.precision,
            "seed": choices.seed,
            **files,
        }

    def build(self) -> nn.Module:
        """The transformer with its alignment convolution, from the weights to begin with."""
        transformer = Transformer(self.choices.config)
        transformer.alignment = Alignment(self.choices.config.dim, self.choices.teacher_width)
        transformer.recompute = self.choices.recompute
        if self.choices.start is not None:
            begin_with(transformer, self.choices.start)
        return Objective(transformer)

    def loss(
        self, module: nn.Module, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of the stream's next micro-batch."""
        batch = next(self.stream)
        place = self.choices.seed, batch.lane, batch.first
        torch.manual_seed(integer(_NETWORK, *place))
        drop = self._dropped(batch)
        loss, entropy, distance = module(*self._inputs(batch, *drop))
        parts = {"entropy": float(entropy.detach()), "distillation": float(distance.detach())}
        return loss, parts

    def _dropped(self, batch: MicroBatch) -> list[Tensor]:
        """Each sample's conditions by its own number, so that they do not depend on the micro-batch that it is in."""
        draws = []
        for number in range(batch.first, batch.first + len(batch.samples)):
            seed = integer(_CONDITIONS, self.choices.seed, batch.lane, number)
            draws.append(joint_dropout(1, torch.Generator().manual_seed(seed)))
        return [torch.cat(of_all) for of_all in zip(*draws, strict=True)]

    def _inputs(self, batch: MicroBatch, drop_text_B: Tensor, drop_image_B: Tensor) -> list[Tensor]:
        condition_BN, target_BN = self.frozen.codes(batch.samples)
        drop = [drop_text_B.to(condition_BN.device), drop_image_B.to(condition_BN.device)]
        text, patches = self.frozen.features(batch.samples), self.frozen.patches(batch.samples)
        return [text, condition_BN, target_BN, *drop, patches]

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Nothing: the published trainer looks at its losses only."""
        return {}

    def sheet(self, module: nn.Module) -> Picture | None:
        """Nothing to look at."""
        return None

    def load(self, module: nn.Module, folder: Path) -> None:
        """Continue from `export` with a fresh optimizer."""
        begin_with(module.transformer, folder / "transformer.safetensors")

    def export(self, module: nn.Module, folder: Path) -> None:
        """Transformer in half precision under the released names, alignment included, and its shape."""
        folder.mkdir(parents=True, exist_ok=True)
        save_half(module.transformer, folder / "transformer.safetensors")
        config = {"transformer": asdict(self.choices.config)}
        with written_aside(folder / "config.json") as aside:
            aside.write_text(json.dumps(config, indent=1) + "\n")

    def places(self) -> Mapping[int, Any]:
        """Where the lanes of this process stand."""
        return self.stream.places()

    def go_to(self, places: Mapping[int, Any]) -> None:
        """Read on from there."""
        self.stream.go_to(places)

    def skipped(self) -> Counter[str]:
        """Samples that could not be used."""
        return self.stream.skipped()

    def speed(self, seconds: float, processes: int) -> dict[str, float]:
        """Positions a second over all processes, and the part of the peak that the transformer's operations are."""
        tokens = self.choices.batch * positions(self.choices.config) / seconds
        speed = {"tokens/s": tokens}
        device = self.frozen.device
        peak = peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        if peak is not None:
            speed["mfu"] = self.flops_a_step / seconds / (processes * peak)
        return speed


def begin_with(transformer: Transformer, path: Path) -> None:
    """Read weights of LlamaGen or EditAR into a fresh transformer.

    LlamaGen's have no null picture and no alignment, which then stay as drawn; EditAR's have both or the first.

    Raises:
        UserError: the names or shapes are others.
    """
    state, wanted = read_state(path), transformer.state_dict()
    own = {key for key in wanted if key == _NULL_PICTURE or key.startswith(TRAINING_ONLY)}
    found = misfit(wanted, state, optional=own)
    if found:
        raise UserError(
            f"train: {path} does not fit the transformer ({found}); --config must belong to the file"
        )
    transformer.load_state_dict(state, strict=False)
