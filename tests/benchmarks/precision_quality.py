"""What weights and caches of few bits cost, on the shipped weights: `python -m tests.benchmarks.precision_quality`.

Teacher-forced on true target codes of test samples: how far the distribution of each next code moves (Kullback-Leibler
divergence from the full-precision one in nats, total variation), how often the likeliest code stays, and how much
likelier or less likely the true codes become. Without guidance and at the published scale of 3, at temperature 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.editar.choosing import guide
from models.editar.decoding import Decoder
from models.editar.pictures import to_tensor
from models.editar.pipeline import EditAR
from models.editar.precision import Precision
from models.editar.templates import prompt_for
from models.weights_manifest import WEIGHTS
from tasks.depth import SceneDepth
from tasks.edit import SceneEdit

SAMPLES, BATCH = 32, 8
PRECISIONS = {
    "bfloat16": Precision(),
    "int8 weights": Precision("int8"),
    "fp8 weights": Precision("fp8"),
    "fp8 cache": Precision("full", "fp8"),
    "int8 weights, fp8 cache": Precision("int8", "fp8"),
}


def logits(editar: EditAR, batch: tuple[Tensor, ...], precision: Precision) -> Tensor:
    """Of every code but the first, float32 (B, N - 1, G, V)."""
    text, condition, target = batch
    decoder = Decoder(editar.transformer, len(text), 2, precision)
    dtype = editar.transformer.output.weight.dtype
    decoder.prefill(text.to(dtype), condition)
    places = torch.arange(target.shape[1] - 1).expand(len(text), -1)
    return decoder.step(target[:, :-1], places, decoder.layout.length).float()


def compare(exact: Tensor, rough: Tensor, true: Tensor) -> Tensor:
    """Divergence, variation, whether the best stays, and the change of the true codes' log-probability, each a code."""
    p, q = exact.log_softmax(-1).double(), rough.log_softmax(-1).double()
    index = true[..., None]
    return torch.stack(
        [
            (p.exp() * (p - q)).sum(-1),
            (p.exp() - q.exp()).abs().sum(-1) / 2,
            (p.argmax(-1) == q.argmax(-1)).double(),
            (q - p).gather(-1, index).squeeze(-1),
        ]
    )


@torch.inference_mode()
def main() -> None:
    """Print a line a task, scale and precision."""
    editar = EditAR.from_folder(WEIGHTS / "editar")
    half = EditAR.from_folder(WEIGHTS / "editar", dtype=torch.bfloat16)
    for task in (SceneEdit, SceneDepth):
        split = task().load()
        examples = [split[i] for i in range(0, len(split), len(split) // SAMPLES)][:SAMPLES]
        text = editar.text.encode([prompt_for(e.task, e.prompt) for e in examples])
        condition = editar.codec.encode(to_tensor([e.condition for e in examples]))
        target = editar.codec.encode(to_tensor([e.target for e in examples]))
        batches = list(zip(*(x.split(BATCH) for x in (text, condition, target)), strict=True))
        exact = [logits(editar, batch, Precision()) for batch in batches]
        for name, precision in PRECISIONS.items():
            model = half if name == "bfloat16" else editar
            rough = [logits(model, batch, precision) for batch in batches]
            for scale in (1.0, 3.0):
                parts = [
                    compare(
                        *(guide(x.flatten(0, 1), scale).view_as(x[:, :, 0]) for x in pair), t[:, 1:]
                    )
                    for *pair, (_, _, t) in zip(exact, rough, batches, strict=True)
                ]
                kl, moved, same, gain = torch.cat(parts, 1).flatten(1).mean(1).tolist()
                print(
                    f"{task.__name__:10} guidance {scale:g} {name:24}: KL {kl:.2e} nats, total variation {moved:.4f}, "
                    f"same best code {same:.4f}, true codes {gain:+.5f} nats",
                    flush=True,
                )


if __name__ == "__main__":
    main()
