"""Weights files: reading published and own ones with exact key sets, writing our own."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from editar_bench.errors import UserError
from editar_bench.files import written_aside
from models.editar.codec import Codec, CodecConfig
from models.editar.config import TransformerConfig
from models.editar.quantizer import USAGE_WINDOW
from models.editar.transformer import RotaryNetwork, Transformer

_Rotary = TypeVar("_Rotary", bound=RotaryNetwork)
WRAPPERS = ("model", "module", "state_dict", "ema")
PREFIXES = ("_orig_mod.", "module.")  # left by torch.compile and by DistributedDataParallel
TRAINING_ONLY = "alignment."  # the distillation convolution, which inference does not have
# What the published class makes anew whenever it samples, and saves if it is saved afterwards.
_REMADE = (".k_cache", ".v_cache", "freqs_cis", "causal_mask")
_NULL_TEXT = "cls_embedding.uncond_embedding"
USAGE_KEY = "quantize.codebook_used"  # a training statistic that our own files leave out
_REFUSED = re.compile(r"Unsupported global: GLOBAL (\S+)")  # in torch's message


def load_transformer(
    path: Path | str,
    config: Mapping[str, Any],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Transformer:
    """Load a transformer from .safetensors or .pt, in eval mode.

    The file is mapped into memory and each tensor goes to its device and type by itself, so that
    there is never a second copy of the whole.

    Args:
        path: the weights.
        config: the `transformer` object of a config.json.
        device: where to.
        dtype: of all weights.
    """
    return load_rotary(
        lambda: Transformer(TransformerConfig.from_dict(config)), path, device, dtype
    )


def load_rotary(
    build: Callable[[], _Rotary],
    path: Path | str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> _Rotary:
    """Load any network that makes its own rotary table, as `load_transformer` does.

    Args:
        build: makes the network; called where tensors have no memory.
        path: the weights.
        device: where to.
        dtype: of all weights.
    """
    state = {
        k: v
        for k, v in read_state(path).items()
        if not k.startswith(TRAINING_ONLY) and not k.endswith(_REMADE)
    }
    with torch.device("meta"):
        model = build()
    null = model.state_dict().get(_NULL_TEXT)
    if null is not None and _NULL_TEXT in state:
        # The published class keeps 120 rows of it, whatever the number of text slots.
        state[_NULL_TEXT] = state[_NULL_TEXT][: len(null)]
    _fill(model, state, path, device, dtype)
    model.reset_rotary()
    model.rotary = model.rotary.to(device)
    return model


def load_codec(
    path: Path | str, config: Mapping[str, Any], device: torch.device | str = "cpu"
) -> Codec:
    """Load a codec from .safetensors or .pt: float32 (rounding flips codes), eval mode.

    Args:
        path: the weights.
        config: the `vq` object of a config.json.
        device: where to.
    """
    state = read_state(path)
    state.setdefault(USAGE_KEY, torch.full((USAGE_WINDOW,), -1.0))
    with torch.device("meta"):
        model = Codec(CodecConfig.from_dict(config))
    _fill(model, state, path, device, torch.float32)
    return model


def read_state(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a weights file by plain name: wrappers opened, prefixes taken off."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"weights: there is no file {path}; train the model or fetch its weights")
    try:
        content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    except UserError:
        raise
    except Exception as error:  # corrupt files raise almost anything
        raise UserError(
            f"weights: {path} cannot be read and is corrupt or no weights file; fetch it again"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    return {_plain(key): value for key, value in content.items() if isinstance(value, Tensor)}


def check_bytes(path: Path) -> None:
    """Read a .pt file to its end against the checksums inside it, which mapping it does not.

    Raises:
        UserError: a byte is not what was written.
    """
    if not zipfile.is_zipfile(path):  # the format before torch 1.6 has none
        return
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise UserError(
            f"weights: {path} is damaged (the checksum of {damaged} inside it is wrong); fetch it again"
        )


def misfit(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], optional: Collection[str] = ()
) -> str:
    """Which tensors are missing, unexpected or of another shape, in words; empty if all is well."""
    problems = [
        _listed("missing", sorted(wanted.keys() - set(optional) - state.keys())),
        _listed("unexpected", sorted(state.keys() - wanted.keys())),
        _listed(
            "of another shape",
            sorted(k for k in wanted.keys() & state.keys() if wanted[k].shape != state[k].shape),
        ),
    ]
    return "; ".join(problem for problem in problems if problem)


def save_half(module: nn.Module, path: Path | str) -> None:
    """Write a module's tensors as float16 safetensors; the file appears whole or not at all."""
    from safetensors.torch import save_file

    state = {}
    for key, value in module.state_dict().items():
        if key.endswith(USAGE_KEY):
            continue
        half = value.half() if value.is_floating_point() else value
        if half.is_floating_point() and not half.isfinite().all():
            raise ValueError(f"{key} has values that half precision cannot hold")
        state[_plain(key)] = half.detach().cpu().contiguous().clone()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside:
        save_file(state, str(aside))


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(str(path))


def _read_pickle(path: Path) -> dict[str, Any]:
    # The published trainers store argparse settings beside the weights; nothing else is let in.
    with torch.serialization.safe_globals([argparse.Namespace]):
        if not zipfile.is_zipfile(path):  # the format before torch 1.6 cannot be mapped
            try:
                return dict(torch.load(path, map_location="cpu", weights_only=True))
            except pickle.UnpicklingError as error:
                if named := _REFUSED.search(str(error)):
                    raise _foreign(path, [named[1]]) from error
                raise
        foreign = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        if foreign:
            raise _foreign(path, foreign)
        # Mapped: an optimizer that lies beside the weights is never read.
        return dict(torch.load(path, map_location="cpu", weights_only=True, mmap=True))


def _foreign(path: Path, classes: Sequence[str]) -> UserError:
    return UserError(
        f"weights: {path} cannot be read because it holds objects of {', '.join(classes)}, "
        "whose loading could run code; save its tensors alone and name that file"
    )


def _plain(key: str) -> str:
    while key.startswith(PREFIXES):
        key = key.split(".", 1)[1]
    return key


def _fill(
    model: nn.Module,
    state: dict[str, Tensor],
    path: Path | str,
    device: torch.device | str,
    dtype: torch.dtype,
) -> None:
    """Put tensors into a model on the meta device, after an exact check of names and shapes."""
    wanted = model.state_dict()
    found = misfit(wanted, state)
    if found:
        raise UserError(
            f"weights: {path} does not fit its configuration ({found}); "
            "use the config.json that belongs to the file"
        )
    for key in wanted:
        state[key] = state[key].to(device, dtype)
    model.load_state_dict(state, assign=True)
    model.eval()


def _listed(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{what}: {', '.join(keys[:3])}{more}"
