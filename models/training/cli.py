"""`editar-bench train`: one network, or all of them in dependency order, each with its share of the minutes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from editar_bench.errors import UserError
from models.training.campaign import SHARES, Campaign

_BANKS = {"cpu": (20480, 6144), "cuda": (131072, 65536)}  # edits for generators and for evaluators


def main(arguments: list[str]) -> int:
    """Parse the arguments after `editar-bench train` and train; returns the exit code."""
    options = _parser().parse_args(arguments)
    names = list(SHARES) if options.network == "all" else [options.network]
    unknown = [name for name in names if name not in SHARES]
    if unknown:
        raise UserError(
            f"train: there is no network '{unknown[0]}'; choose all or one of {', '.join(SHARES)}"
        )
    if not 0 < options.minutes < float("inf"):
        raise UserError(f"train: --minutes is {options.minutes}; it must be a number above 0")
    if options.edits < 0:
        raise UserError(f"train: --edits is {options.edits}; it must be a number above 0")
    _train(options, names)
    return 0


def _train(options: argparse.Namespace, names: list[str]) -> None:
    import torch

    from models.training.references import make_references
    from models.training.trainer import Trainer
    from models.weights_manifest import write_manifest

    device = _device(options.device)
    torch.set_num_threads(options.threads or os.cpu_count() or 1)
    train_edits, evaluator_edits = _BANKS[torch.device(device).type]
    campaign = Campaign(
        options.data / "bank",
        options.runs,
        device,
        options.edits or train_edits,
        options.edits or evaluator_edits,
    )
    whole = sum(SHARES[name] for name in names)
    for name in names:
        target = campaign.folder(name)
        # The teacher is not shipped: there is nothing to continue.
        earlier = target if options.from_weights and name != "teacher" else None
        trainer = Trainer(
            campaign.recipe(name),
            options.minutes * SHARES[name] / whole,
            options.runs / name,
            target,
            device=device,
            seed=options.seed,
            continue_from=earlier,
        )
        trainer.run()
        write_manifest(campaign.weights)
        if name == "segmenter":  # the reference embeddings are its own
            make_references(campaign.judges)


def _device(wanted: str) -> str:
    import torch

    available = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda" if available else "cpu"
    if wanted not in ("cpu", "cuda"):
        raise UserError(f"train: there is no device '{wanted}'; choose auto, cpu or cuda")
    if wanted == "cuda" and not available:
        raise UserError("train: --device cuda, but this machine has no CUDA device; leave it out")
    return wanted


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="editar-bench train",
        description="Train the networks of the scenes suite from nothing, resumably.",
        epilog="Examples: train all --minutes 120   |   train editar --minutes 30 --from weights",
    )
    parser.add_argument("network", help=f"all, or one of: {', '.join(SHARES)}")
    parser.add_argument(
        "--recipe", choices=["scenes"], default="scenes", help="data and sizes (default: scenes)"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=120.0,
        help="minutes of training steps, all networks together (default: 120)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: all cores)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of weights and batches (default: 0)"
    )
    parser.add_argument(
        "--edits", type=int, default=0, help="size of the rendered bank (default: by device)"
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="folder of the bank (default: data)"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs"),
        help="folder of checkpoints and sheets (default: runs)",
    )
    parser.add_argument(
        "--from",
        dest="from_weights",
        choices=["weights"],
        help="continue from the shipped weights with a fresh optimizer and warm-up",
    )
    return parser
