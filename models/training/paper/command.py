"""`editar-bench train editar --recipe paper`: its options."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editar_bench.errors import UserError
from models.editar.released import CODEC, TEXT_ENCODER
from models.training.paper import published

if TYPE_CHECKING:  # importing torch takes longer than the help text may
    from models.editar.config import TransformerConfig

_EXAMPLES = """examples:
  train editar --recipe paper --dry-run
  train editar --recipe paper --data my-data --recompute --micro-batch 4
  train editar --recipe paper --data my-data --precompute my-codes    (once; then --data my-codes)

on several GPUs:
  accelerate launch --num_processes 8 -m editar_bench.cli train editar --recipe paper --data my-data"""


def main(arguments: list[str]) -> int:
    """Parse the arguments after `editar-bench train` and train; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.network != "editar":
        raise UserError(f"train: the recipe 'paper' is EditAR's; {options.network} has none")
    _check(options)
    if options.dry_run:
        print(_estimate(options))
        return 0
    from models.training.paper.run import run

    run(options, *read_config(options.config))
    return 0


def _check(options: argparse.Namespace) -> None:
    for name in ("steps", "batch", "lanes", "workers"):
        if getattr(options, name) < 1:
            raise UserError(f"train: --{name} is {getattr(options, name)}; it must be 1 or more")
    if not 0 <= options.seed < 2**63:
        raise UserError(f"train: --seed is {options.seed}; it must be from 0 to 2^63 - 1")
    if options.batch % options.lanes:
        raise UserError(
            f"train: --batch {options.batch} is no multiple of --lanes {options.lanes}; change one"
        )
    of_a_lane = options.batch // options.lanes
    options.micro_batch = options.micro_batch or of_a_lane
    if options.micro_batch < 1 or of_a_lane % options.micro_batch:
        raise UserError(
            f"train: --micro-batch {options.micro_batch} does not divide the {of_a_lane} samples that a "
            "lane gives to a step; change it"
        )


def read_config(path: Path | None) -> tuple[TransformerConfig, dict[str, Any]]:
    """Shapes of transformer and codec: the released ones, or those of a config.json."""
    from models.editar.config import TransformerConfig

    if path is None:
        return TransformerConfig(), CODEC.config
    try:
        values = json.loads(path.read_text())
        transformer, codec = dict(values["transformer"]), dict(values["vq"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"train: {path} is no JSON object with the objects transformer and vq ({error!r})"
        ) from error
    return TransformerConfig.from_dict(transformer), codec


def _estimate(options: argparse.Namespace) -> str:
    from models.training.paper.estimate import TEACHER_WIDTH, Plan, report
    from models.training.paper.sources import SOURCES

    plan = Plan(
        config=read_config(options.config)[0],
        teacher_width=TEACHER_WIDTH,
        steps=options.steps,
        batch=options.batch,
        micro_batch=options.micro_batch,
        lanes=options.lanes,
        recompute=options.recompute,
        sharded=options.fsdp,
    )
    text = report(plan, options.lanes, SOURCES)
    if options.precision != "bf16":
        text += "\n\nall of this is for bf16; float32 takes twice the memory for activations, and more time"
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="editar-bench train",
        allow_abbrev=False,
        description="Train EditAR by the published recipe, on the published data.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", help="editar")
    parser.add_argument("--recipe", choices=["paper"], required=True)
    parser.add_argument(
        "--dry-run", action="store_true", help="print memory, time and data that the run would need"
    )
    _add_inputs(parser)
    _add_run(parser)
    _add_execution(parser)
    return parser


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data/paper"),
        help="folder of local copies: multigen, coco-stuff, pipe, seed-unsplash, each in its original "
        "layout; what is not there is streamed from the hub (default: data/paper)",
    )
    parser.add_argument(
        "--from",
        dest="start",
        default=published.START_HUB,
        help=f"weights to begin with: a file, a hub repository with LlamaGen's {published.START_FILE}, or "
        "none (default: %(default)s)",
    )
    parser.add_argument("--codec", default=CODEC.hub, help="file or hub repository")
    parser.add_argument("--text", default=TEXT_ENCODER, help="folder or hub repository")
    parser.add_argument("--teacher", default=published.TEACHER, help="folder or hub repository")
    parser.add_argument(
        "--config", type=Path, help="config.json of other sizes (default: the released ones)"
    )
    parser.add_argument(
        "--precompute",
        type=Path,
        help="instead of training: write codes of all local copies into this folder",
    )
    parser.add_argument(
        "--with-text",
        action="store_true",
        help="with --precompute: text features too, 0.5 MB a sample",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--steps", type=int, default=published.STEPS, help="default: %(default)s, as published"
    )
    parser.add_argument(
        "--batch",
        type=int,
        default=published.BATCH,
        help="samples a step, over all processes (default: %(default)s)",
    )
    parser.add_argument(
        "--lanes",
        type=int,
        default=published.LANES,
        help="streams that make a batch; processes share them evenly",
    )
    parser.add_argument("--seed", type=int, default=published.SEED)
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), help="folder of the checkpoint (default: runs)"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="folder of the trained weights (default: in the folder of runs)",
    )


def _add_execution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--micro-batch",
        type=int,
        default=0,
        help="samples of one forward pass; gradients are added up over the rest (default: a lane's)",
    )
    parser.add_argument(
        "--recompute",
        action="store_true",
        help="activation checkpointing: a third more time, a fraction of the memory",
    )
    parser.add_argument(
        "--fsdp", action="store_true", help="shard the model over the GPUs instead of copying it"
    )
    parser.add_argument("--precision", choices=["bf16", "float32"], default="bf16")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--workers",
        type=int,
        default=published.WORKERS,
        help="threads of each process that decode pictures",
    )
