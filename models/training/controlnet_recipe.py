"""Recipe of the compact ControlNets (arXiv 2302.05543): depth, edge or segmentation pictures steer Stable Diffusion.

As published, the network is a copy of the frozen UNet's encoder that adds to its skip connections through convolutions
that start at zero. Condition pictures are in [0, 1], which is what diffusers' pipeline gives the network.

The published half of the captions to empty drowns the condition in what the lost captions leave unknown: after 1,600
label maps, another picture's map added 0.0084 to the error, and 0.0192 with a tenth. Batches of 8 took it five times as
far as batches of 16. What AdamW moves (the first convolution over the colors of the condition, norms and biases) wants
ten times the usual rate: at it and with residuals added twice, the same label maps close 0.49 of the validation gap
instead of 0.41. Legend: B batch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionControlNetPipeline,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)
from numpy.typing import NDArray
from torch import Tensor, nn

from editar_bench.errors import UserError
from editar_bench.types import Picture
from models.adapters.assembling import assemble
from models.adapters.common import quiet
from models.adapters.pipelines import generators_of, load
from models.editar.pictures import to_pictures
from models.training.bank import Bank
from models.training.data import captions, condition, grid, pick
from models.training.kl_recipe import half_copy
from models.training.latent_diffusion import (
    EMA_DECAY,
    NOISE,
    PARTNERS,
    Averaged,
    Frozen,
    LatentCache,
    drop_texts,
    squared_error,
)
from models.training.recipe import Clock
from models.weights_manifest import partners

Kind = Literal["depth", "edge", "segmentation"]
BASE = "stable-diffusion"
CONDITION_CHANNELS = (16, 32, 32)  # at 64, 32 and 16 px
DROPOUT = 0.1  # of the captions; published: 0.5
_LOSS_PICTURES, _SAMPLED, _SHOWN = 64, 16, 8  # of a validation
_STEPS, _GUIDANCE = 10, 1.5


class ControlNetRecipe:
    """Trains a ControlNet for one kind of condition on all pictures of the bank."""

    muon = True

    def __init__(
        self,
        kind: Kind,
        train: Bank,
        validation: Bank,
        weights_root: Path,
        *,
        learning_rate: float = 1e-2,
        batch_size: int = 8,  # small: at these budgets the number of steps is what counts
    ) -> None:
        self.name = f"controlnet-{kind}"
        self.kind, self.train, self.validation = kind, train, validation
        self.learning_rate, self.batch_size = learning_rate, batch_size
        self.frozen = Frozen(weights_root)
        self.base = _load_base(weights_root / BASE)
        self.partners = partners(weights_root, (*PARTNERS, "unet"))
        self.settings: dict[str, Any] = {
            "condition_channels": CONDITION_CHANNELS,
            "noise": NOISE,
            "dropout": DROPOUT,
            "ema_decay": EMA_DECAY,
            "pictures": 2 * len(train),
            **self.partners,
        }
        self._train_latents = LatentCache(train, self.frozen.vae)
        self._validation_latents = LatentCache(validation, self.frozen.vae)

    def build(self) -> nn.Module:
        """A copy of the frozen UNet's encoder with its zero convolutions, and its average."""
        return Averaged(
            ControlNetModel.from_unet(
                self.base, conditioning_embedding_out_channels=CONDITION_CHANNELS
            )
        )

    def loss(
        self, module: Averaged, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Squared error of the frozen UNet's prediction, steered by the network."""
        module.update()
        rows = pick(2 * len(self.train), self.batch_size, generator)
        latents = self.frozen.scaled(self._train_latents, rows, generator)
        texts = drop_texts(captions(self.train, rows), DROPOUT, generator)
        steps = self.frozen.random_steps(len(rows), generator)
        noisy, wanted = self.frozen.noised(latents, steps, generator)
        shown = self._conditions(self.train, rows)
        return squared_error(self._predict(module.network, texts, shown, noisy, steps), wanted), {}

    def _conditions(self, bank: Bank, rows: NDArray[np.int64]) -> Tensor:
        """Condition pictures, float (B, 3, H, W) in [0, 1]."""
        return (condition(bank, self.kind, rows) + 1) / 2

    def _predict(
        self, network: nn.Module, texts: list[str], shown: Tensor, noisy: Tensor, steps: Tensor
    ) -> Tensor:
        device = next(network.parameters()).device
        self._place(device)
        features = self.frozen.text.encode(texts)
        noisy, steps = noisy.to(device), steps.to(device)
        skips, middle = network(noisy, steps, features, shown.to(device), return_dict=False)
        return self.base(
            noisy,
            steps,
            features,
            down_block_additional_residuals=skips,
            mid_block_additional_residual=middle,
        ).sample

    def _place(self, device: torch.device) -> None:
        self.frozen.to(device)
        self.base.to(device)

    def validate(self, module: Averaged) -> dict[str, float]:
        """Error at fixed noise, with its condition and with another picture's; the same of sampled pictures."""
        network = module.averaged()
        generator = torch.Generator().manual_seed(0)
        rows = 2 * np.arange(min(_LOSS_PICTURES, len(self.validation)))
        latents = self.frozen.scaled(self._validation_latents, rows, generator)
        steps = self.frozen.fixed_steps(len(rows))
        noisy, wanted = self.frozen.noised(latents, steps, generator)
        texts = captions(self.validation, rows)
        figures = {}
        for name, shown in (("error", rows), ("error_other_condition", np.roll(rows, 1))):
            conditions = self._conditions(self.validation, shown)
            guess = self._predict(network, texts, conditions, noisy, steps)
            figures[name] = float(squared_error(guess, wanted))
        made, truth = self._sample(network, rows[:_SAMPLED]), self.validation.maps["rgb"]
        for name, shown in (
            ("sampled_error", rows[:_SAMPLED]),
            ("sampled_error_other_truth", np.roll(rows[:_SAMPLED], 1)),
        ):
            figures[name] = float(np.square((made - truth[shown].astype(np.float64)) / 255).mean())
        return figures

    def sheet(self, module: Averaged) -> Picture:
        """Conditions, outputs, truths."""
        rows = 2 * np.arange(min(_SHOWN, len(self.validation)))
        made = self._sample(module.averaged(), rows)
        shown = to_pictures(condition(self.validation, self.kind, rows))
        return grid([shown, made.astype(np.uint8), self.validation.maps["rgb"][rows]])

    def _sample(self, network: ControlNetModel, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Pictures (B, H, W, 3), 0 to 255."""
        self._place(network.device)
        pipeline = assemble(
            StableDiffusionControlNetPipeline,
            sampler(),
            self.frozen.vae,
            self.frozen.text,
            unet=self.base,
            controlnet=network,
        )
        pipeline.set_progress_bar_config(disable=True)
        images = pipeline(
            prompt=captions(self.validation, rows),
            image=self._conditions(self.validation, rows),
            num_inference_steps=_STEPS,
            guidance_scale=_GUIDANCE,
            generator=generators_of(range(len(rows))),
            output_type="np",
        ).images
        return np.asarray((images * 255).round(), dtype=np.float64)

    def load(self, module: Averaged, folder: Path) -> None:
        """Continue from the shipped average."""
        module.restart(load(ControlNetModel, folder / "controlnet"))

    def export(self, module: Averaged, folder: Path) -> None:
        """The averaged network in half precision and the sampler's settings, beside a config that names the rest."""
        with quiet():
            half_copy(module.averaged()).save_pretrained(str(folder / "controlnet"))
        sampler().save_pretrained(str(folder / "scheduler"))
        folders = {"base": f"../{BASE}", "vae": "../vae", "text": "../text"}
        (folder / "config.json").write_text(json.dumps(folders | self.partners, indent=1) + "\n")


def sampler() -> UniPCMultistepScheduler:
    """The sampler of the published benchmark of ControlNets."""
    return UniPCMultistepScheduler(**NOISE)


def _load_base(folder: Path) -> UNet2DConditionModel:
    if not (folder / "unet").is_dir():
        raise UserError(
            f"controlnet: there is no Stable Diffusion in {folder}; "
            "run `editar-bench train stable-diffusion` first"
        )
    return load(UNet2DConditionModel, folder / "unet").requires_grad_(False)
