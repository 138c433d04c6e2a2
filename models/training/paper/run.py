"""Putting a run of the published recipe together: networks, data, machine, trainer."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from data_prep.ade20k import long_png_texts
from editar_bench.errors import UserError
from models.editar.codec import CodecConfig
from models.editar.config import TransformerConfig
from models.editar.released import CODEC, TEXT_FILES, fetch, fetch_text_encoder, sha256
from models.training.cli import device_of
from models.training.paper import teacher
from models.training.paper.frozen import Frozen, Places
from models.training.paper.opening import TEXT_SLOTS, Opened, Shape, open_source
from models.training.paper.precompute import compute
from models.training.paper.published import START_FILE
from models.training.paper.recipe import Choices, PaperRecipe, constant
from models.training.paper.sources import SOURCES
from models.training.paper.spread import Spread, start
from models.training.paper.stream import Stream
from models.training.recipe import Budget
from models.training.trainer import Trainer

_STEPS_A_POINT = 100  # of the curve


def run(
    options: argparse.Namespace, transformer: TransformerConfig, codec: Mapping[str, Any]
) -> None:
    """Train, or compute codes, on what `accelerate launch` or `torchrun` gave this process."""
    from datasets.utils.logging import set_verbosity_error

    set_verbosity_error()  # datasets warns of a shuffle buffer that it would not restore; it is empty
    torch.backends.cuda.matmul.allow_tf32 = True  # for the codec, as published
    accelerator = start(device_of(options.device), options.fsdp)
    if options.lanes % accelerator.num_processes:
        raise UserError(
            f"train: {accelerator.num_processes} processes cannot share {options.lanes} lanes evenly; "
            "change --lanes"
        )
    parts = options.batch // options.micro_batch // accelerator.num_processes
    machine = Spread(accelerator, options.precision == "bf16", parts)
    frozen = _frozen(options, transformer, codec, machine)
    files = _checksums(frozen.places)
    shape = _shape(frozen, transformer, files)
    with long_png_texts():  # which some of these sets have
        if options.precompute is None:
            _train(options, machine, transformer, frozen, shape, files)
        else:
            _compute(options, machine, frozen, shape)
    accelerator.end_training()


def _frozen(
    options: argparse.Namespace,
    transformer: TransformerConfig,
    codec: Mapping[str, Any],
    machine: Spread,
) -> Frozen:
    """The frozen networks, found or fetched, once they are known to fit each other."""
    sizes = CodecConfig.from_dict(codec)
    if (sizes.grid**2, sizes.codebook_size) != (transformer.block_size, transformer.vocab_size):
        raise UserError(
            f"train: the codec makes {sizes.grid**2} codes of {sizes.codebook_size}, but the transformer "
            f"reads {transformer.block_size} of {transformer.vocab_size}; --config must give sizes that fit"
        )
    with machine.accelerator.main_process_first():  # one process fetches, the others find
        places = Places(
            codec=Path(options.codec)
            if Path(options.codec).is_file()
            else fetch(CODEC, options.codec),
            codec_config=codec,
            text=fetch_text_encoder(options.text),
            teacher=teacher.find(options.teacher),
        )
    dtype = torch.bfloat16 if machine.bf16 else torch.float32
    frozen = Frozen(places, transformer.cls_token_num, torch.device(machine.device), dtype)
    if 4 * frozen.teacher.patches != transformer.block_size:
        raise UserError(
            f"train: the teacher sees {frozen.teacher.patches} patches, but {transformer.block_size} codes "
            "make a quarter as many; use another teacher or another config"
        )
    return frozen


def _checksums(places: Places) -> dict[str, str]:
    """What the record says of the frozen networks."""

    def folder(path: Path) -> str:
        files = sorted({f for pattern in TEXT_FILES for f in path.glob(pattern)})
        return hashlib.sha256(" ".join(map(sha256, files)).encode()).hexdigest()

    return {
        "codec_sha256": sha256(places.codec),
        "text_sha256": folder(places.text),
        "teacher_sha256": folder(places.teacher),
    }


def _shape(frozen: Frozen, transformer: TransformerConfig, files: Mapping[str, str]) -> Shape:
    view = json.dumps(asdict(frozen.crop))
    return Shape(
        side=CodecConfig.from_dict(frozen.places.codec_config).image_size,
        crop=frozen.crop,
        slots=transformer.cls_token_num,
        made_by={
            "codec": files["codec_sha256"],
            "text": files["text_sha256"],
            TEXT_SLOTS: str(transformer.cls_token_num),
            "teacher's view": hashlib.sha256(view.encode()).hexdigest(),
        },
    )


def _compute(options: argparse.Namespace, machine: Spread, frozen: Frozen, shape: Shape) -> None:
    for source in SOURCES:
        compute(
            source,
            options.data,
            options.precompute,
            shape,
            frozen,
            with_text=options.with_text,
            process=machine.accelerator.process_index,
            processes=machine.processes,
        )


def _train(
    options: argparse.Namespace,
    machine: Spread,
    transformer: TransformerConfig,
    frozen: Frozen,
    shape: Shape,
    files: Mapping[str, str],
) -> None:
    choices = Choices(
        config=transformer,
        start=_start(options.start, machine),
        teacher_width=frozen.teacher.width,
        batch=options.batch,
        lanes=options.lanes,
        seed=options.seed,
        recompute=options.recompute,
        precision=options.precision,
    )
    opened = [open_source(source, options.data, shape) for source in SOURCES]
    stream = _stream(options, machine, opened)
    recipe = PaperRecipe(choices, SOURCES, stream, frozen, files)
    folder = options.runs / recipe.name
    trainer = Trainer(
        recipe,
        Budget(steps=options.steps),
        folder,
        options.weights or folder / "weights",
        device=machine.device,
        seed=options.seed,
        points=-(-options.steps // _STEPS_A_POINT),
        schedule=constant,
        machine=machine,
    )
    try:
        trainer.run()
    finally:
        stream.close()


def _stream(options: argparse.Namespace, machine: Spread, opened: Sequence[Opened]) -> Stream:
    return Stream(
        range(machine.accelerator.process_index, options.lanes, machine.processes),
        opened,
        options.seed,
        size=options.micro_batch,
        parts=options.batch // options.lanes // options.micro_batch,
        threads=options.workers,
    )


def _start(source: str, machine: Spread) -> Path | None:
    """The weights to begin with: a file, LlamaGen's from a hub repository, or none."""
    if source == "none" or Path(source).is_file():
        return None if source == "none" else Path(source)
    from huggingface_hub import hf_hub_download

    try:
        with machine.accelerator.main_process_first():
            return Path(hf_hub_download(source, START_FILE))
    except Exception as error:  # neither cached nor reachable
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UserError(
            f"train: '{source}' is no file, and {START_FILE} cannot be fetched from there ({reason}); name a "
            "local copy with --from, or say --from none to begin with random weights"
        ) from error
