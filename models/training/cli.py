"""`editar-bench train`: one network, all in dependency order, the families that are compared, or the codec's grids.

`all` divides minutes among the networks by their needs, `grids` evenly. `families` gives every paradigm the same
number of floating-point operations, divided among its networks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import uuid
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from editar_bench.errors import UserError
from models.training.campaign import AFTERWARDS, SHARES, WEIGHTS, Campaign
from models.training.families import ABLATIONS, FAMILIES, GRIDS, operations
from models.weights_manifest import ABLATIONS as ABLATION_WEIGHTS

if TYPE_CHECKING:  # importing torch takes longer than the help text may
    from models.training.recipe import Budget

_MINUTES = 120.0
_FOUNDATIONS = ("codec", "text", "vae")  # what generators are trained on
_BANKS = {"cpu": (20480, 6144), "cuda": (131072, 65536)}  # edits for generators and for evaluators


def main(arguments: list[str]) -> int:
    """Parse the arguments after `editar-bench train` and train; returns the exit code."""
    if _recipe(arguments) == "paper":
        from models.training.paper.command import main as train_as_published

        return train_as_published(arguments)
    options = _parser().parse_args(arguments)
    for name, value in (("minutes", options.minutes), ("flops", options.flops)):
        if value is not None and not 0 < value < float("inf"):
            raise UserError(f"train: --{name} is {value}; it must be a number above 0")
    for name, number in (("edits", options.edits), ("threads", options.threads)):
        if not 0 <= number < 2**31:
            raise UserError(f"train: --{name} is {number}; it must be 0 (the default) or more")
    if not 0 <= options.seed < 2**63:
        raise UserError(f"train: --seed is {options.seed}; it must be from 0 to 2^63 - 1")
    _train(options, _budgets(options))
    return 0


def _recipe(arguments: list[str]) -> str | None:
    """The recipe that is asked for: each has options of its own."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe", nargs="?")
    recipe: str | None = parser.parse_known_args(arguments)[0].recipe
    return recipe


def _budgets(options: argparse.Namespace) -> dict[str, Budget]:
    """What every wanted network may spend, in the order of training."""
    from models.training.recipe import Budget

    wanted = options.network
    if wanted in ("families", "ablations"):
        if options.flops is None:
            raise UserError(f"train {wanted}: say how much each of them gets, as in --flops 5e13")
        if wanted == "ablations":
            return {name: Budget(flops=options.flops) for name in ABLATIONS}
        return {name: Budget(flops=flops) for name, flops in operations(options.flops).items()}
    networks = list(SHARES)
    if options.from_weights:  # nothing that goes on is distilled
        networks.remove("teacher")
    names = {"all": networks, "grids": list(GRIDS)}.get(wanted, [wanted])
    known = [*SHARES, *AFTERWARDS, *operations(1.0), *ABLATIONS, *GRIDS]
    if names[0] not in known:
        raise UserError(
            f"train: there is no network '{wanted}'; choose all, families, ablations, grids, or one of "
            + ", ".join(dict.fromkeys(known))
        )
    if options.flops is not None:
        if len(names) > 1:
            raise UserError(f"train {wanted} divides minutes, not operations; use --minutes")
        return {wanted: Budget(flops=options.flops)}
    minutes = _MINUTES if options.minutes is None else options.minutes
    whole = sum(SHARES.get(name, 1.0) for name in names)
    return {name: Budget(minutes=minutes * SHARES.get(name, 1.0) / whole) for name in names}


def _train(options: argparse.Namespace, budgets: Mapping[str, Budget]) -> None:
    import torch

    from models.training.references import make_references
    from models.training.trainer import Trainer
    from models.weights_manifest import write_manifest

    device = device_of(options.device)
    torch.set_num_threads(options.threads or os.cpu_count() or 1)
    train_edits, evaluator_edits = _BANKS[torch.device(device).type]
    campaign = Campaign(
        options.data / "bank",
        options.runs,
        device,
        options.edits or train_edits,
        options.edits or evaluator_edits,
        **_places(_root(options.weights, budgets), budgets),
        continuing=options.from_weights is not None,
    )
    for name, budget in budgets.items():
        target = campaign.folder(name)
        # Teacher and reader are not shipped: there is nothing to continue.
        earlier = target if options.from_weights and name not in ("teacher", "reader") else None
        trainer = Trainer(
            campaign.recipe(name),
            budget,
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


def _root(folder: Path | None, wanted: Iterable[str]) -> Path | None:
    """The folder of weights that was asked for; ablations, which are not shipped, have one of their own."""
    if folder is None and set(wanted) <= set(ABLATIONS):
        return ABLATION_WEIGHTS
    return folder


def _places(folder: Path | None, wanted: Container[str]) -> dict[str, Path]:
    """Where weights and evaluators go; a folder of the user's first gets the shipped networks that others build on."""
    if folder is None:
        return {}
    for name in _FOUNDATIONS:
        if name not in wanted and not (folder / name).exists() and (WEIGHTS / name).exists():
            _copy_whole(WEIGHTS / name, folder / name)
    return {"weights": folder, "judges": folder / "evaluators"}


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a folder, whole or not at all: several processes may begin to train into one folder at once."""
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        shutil.copytree(source, aside)
        aside.rename(target)
    except OSError:
        if not target.exists():  # else another process was first
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def device_of(wanted: str) -> str:
    """The device that `--device auto`, `cpu` or `cuda` means here.

    Raises:
        UserError: there is no such device.
    """
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
        allow_abbrev=False,
        description="Train the networks of the scenes suite from nothing, resumably.",
        epilog="Examples: train all --minutes 120   |   train editar --minutes 30 --from weights   |   "
        "train families --flops 5e13 --weights my-weights   |   train ablations --flops 5e13",
    )
    parser.add_argument(
        "network",
        help=f"all; families ({', '.join(FAMILIES)}: every one with the same --flops); ablations of EditAR "
        "(kept apart from the shipped weights); grids (the codec at other sizes, kept in --runs); "
        f"or one of: {', '.join(dict.fromkeys([*SHARES, *AFTERWARDS, *operations(1.0), *ABLATIONS, *GRIDS]))}",
    )
    parser.add_argument(
        "--recipe",
        choices=["scenes", "paper"],
        default="scenes",
        help="data and sizes; paper is EditAR's published training, with options of its own "
        "(train editar --recipe paper --help; default: scenes)",
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes",
        type=float,
        help=f"minutes of training steps, all networks together (default: {_MINUTES:.0f})",
    )
    budget.add_argument(
        "--flops",
        type=float,
        help="instead of minutes: floating-point operations of one network, or of each family or ablation",
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
        "--weights",
        type=Path,
        help="folder of the weights, made from nothing if need be (default: the shipped ones are replaced)",
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
        help="continue from the shipped weights with a fresh optimizer, a warm-up and a fifth of the rate; "
        "EditAR then reads its own draws, without distillation; rewarded, which learns from finished pictures, "
        "needs it",
    )
    return parser
