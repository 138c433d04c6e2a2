"""Recipe that lets a trained EditAR learn from its own finished pictures.

Cross-entropy asks for one code after true ones; what is scored is a picture of 256 draws in a row. So the model draws
pictures, a reader says what they show, and the gradient of what that is worth goes back through reader and decoder to
the code vectors, and past the draw straight to the probabilities they were drawn with (straight-through estimator:
Bengio et al. 2013, arXiv 1308.3432). That a condition can be read back from the picture as a loss is ControlNet++'s
(arXiv 2404.07987). Beside it the loss of before goes on, which keeps the model near to what pictures are like.
Legend: B pictures, N codes of each, V codebook, C channels of a code vector, S × S = N.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from editar_bench.types import Task
from models.editar.choosing import SamplerSettings
from models.editar.config import TransformerConfig
from models.editar.sampler import sample
from models.editar.transformer import Transformer
from models.training.bank import Bank
from models.training.editar_recipe import EditARRecipe
from models.training.optimizers import faster_in_bf16
from models.training.reader_recipe import Reader
from models.training.recipe import Clock
from models.training.rewards import WEIGHTS, Truth, reward
from models.training.token_stream import TASKS, TokenBatch

# Of the pictures drawn: edges, which are good already, less often than in training, labels, which are not, more often.
DRAWN_SHARES: Mapping[Task, float] = {
    Task.EDIT: 0.35,
    Task.DEPTH: 0.25,
    Task.EDGE: 0.1,
    Task.SEGMENTATION: 0.3,
}
DRAWS = SamplerSettings(guidance=1.0, temperature=0.7)  # as pictures are made afterwards
REWARD = 10.0  # weight of the mean reward
IMITATION = 1.0  # weight of the loss of before
_IMITATED = 8  # samples of it a step
_DECODED = 32  # pictures at once
_JUDGED = 32  # validation samples a task that the curve's rewards are of


class RewardedRecipe(EditARRecipe):
    """Trains the transformer of EditAR on what a reader sees in its pictures."""

    muon = False  # it would make a step of noise as long as one of signal

    def __init__(
        self,
        config: TransformerConfig,
        train: Bank,
        validation: Bank,
        weights_root: Path,
        reader: Reader,
        *,
        device: str = "cpu",
        learning_rate: float = 3e-3,  # of which a continuation takes a fifth
        batch_size: int = 32,
    ) -> None:
        super().__init__(
            config,
            train,
            validation,
            weights_root,
            None,
            device=device,
            learning_rate=learning_rate,
            batch_size=batch_size,
        )
        self.validation_bank, self.reader = validation, reader.to(device)
        self._sampled: Transformer | None = None
        self.settings |= {
            "rewards": {task.value: dict(parts) for task, parts in WEIGHTS.items()},
            "drawn_shares": {task.value: share for task, share in DRAWN_SHARES.items()},
            "temperature": DRAWS.temperature,
            "reward": REWARD,
            "imitation": IMITATION,
        }

    def loss(
        self, module: Transformer, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Minus the reward of fresh draws, plus a part of the loss on true codes."""
        batch = self.stream.batch(self.batch_size, generator, DRAWN_SHARES)
        text = self.stream.text.encode(batch.texts)
        codes_BN = self._drawn(module, batch, text, generator)
        keep_B = torch.zeros(len(batch), dtype=torch.bool, device=codes_BN.device)
        logits_BNV, _ = module.forward_train(text, batch.condition_BN, codes_BN, keep_B, keep_B)
        images = self._pictures(codes_BN, logits_BNV / DRAWS.temperature)
        worth_B = self._worth(images, batch, self.stream.train)
        loss, parts = self.imitation(module, self.stream.batch(_IMITATED, generator), generator)
        for task in dict.fromkeys(batch.tasks):
            own_B = torch.tensor([t is task for t in batch.tasks], device=worth_B.device)
            parts[f"drawn_{task.value}"] = float(worth_B.detach()[own_B].mean())
        return IMITATION * loss - REWARD * worth_B.mean(), parts

    def validate(self, module: Transformer) -> dict[str, float]:
        """Cross-entropies, and the mean reward of one draw a sample, by task."""
        figures: dict[str, float] = super().validate(module)
        for task in TASKS:
            batch = self.stream.validation(task, _JUDGED)
            text = self.stream.text.encode(batch.texts)
            codes_BN = self._drawn(module, batch, text, torch.Generator().manual_seed(0))
            worth_B = self._worth(self._pictures(codes_BN), batch, self.validation_bank)
            figures[f"reward_{task.value}"] = float(worth_B.mean())
        return figures

    def _drawn(
        self, module: Transformer, batch: TokenBatch, text: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Codes (B, N) as the model now draws them."""
        if self._sampled is None:  # one network for all steps: the sampler keeps its buffers
            dtype = torch.bfloat16 if faster_in_bf16(self.device) else torch.float32
            self._sampled = copy.deepcopy(module).eval().requires_grad_(False).to(dtype)
        self._sampled.load_state_dict(module.state_dict())
        uniforms_BN = torch.rand(batch.target_BM.shape, generator=generator)
        return sample(self._sampled, text, batch.condition_BN, DRAWS, uniforms_BN).clone()

    def _pictures(self, codes_BN: Tensor, logits_BNV: Tensor | None = None) -> Tensor:
        """Pictures of the codes; what changes them changes the logits as if the mean code vector had been drawn."""
        codec = self.stream.codec
        with torch.autocast(codes_BN.device.type, enabled=False):
            features = codec.quantized(codes_BN)
            if logits_BNV is not None:
                vectors_VC = codec.quantize.embedding.weight.detach()
                mean_BNC = logits_BNV.float().softmax(-1) @ vectors_VC
                mean = mean_BNC.mT.unflatten(2, features.shape[2:])
                features = features + (mean - mean.detach())
            parts = [codec.reconstruct(some) for some in features.split(_DECODED)]
        return torch.cat(parts)

    def _worth(self, images: Tensor, batch: TokenBatch, bank: Bank) -> Tensor:
        truth = Truth.of(bank, batch.rows, self.device)
        return reward(self.reader, images, truth, batch.tasks)
