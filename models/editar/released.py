"""EditAR as published: where its files are, what shape they have, and how they and their like become safetensors.

Sources: the README of github.com/JitengMu/EditAR names the files; LlamaGen (arXiv 2406.06525) made
the codec, Google the text encoder. A source is a file (a folder for the text encoder), or the name
of a repository on the Hugging Face hub.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pkgutil
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editar_bench.errors import MissingWeights, UserError
from editar_bench.files import file_sha256, written_aside

TEXT_ENCODER = "google/flan-t5-xl"
TEXT_FILES = ["*.json", "*.safetensors", "spiece.model"]  # not the copies in other formats
MANIFEST = "manifest.json"
_TOKENIZERS = ("spiece.model", "tokenizer.json")
_KINDS = ("dataset", "model")  # of hub repositories; EditAR's authors chose the first


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One weights file, as its authors publish it."""

    part: str  # what it is, and the beginning of its name once it is converted
    hub: str
    file: str  # inside the repository
    config: dict[str, Any]  # what differs from the defaults of the part's configuration
    loader: str = "models.editar.checkpoint:load_transformer"  # from file and config
    model: str = "editar"  # whose `editar-bench prepare` fetches it


TRANSFORMER = Published(
    part="transformer",
    hub="JitengMu/CVPR2025_EditAR_release",
    file="editar_release/editar_release.pt",
    config={},
)
CODEC = Published(
    part="codec",
    hub="peizesun/llamagen_t2i",
    file="vq_ds16_t2i.pt",
    config={"image_size": 512},
    loader="models.editar.checkpoint:load_codec",
)


def store() -> Path:
    """Where converted weights lie."""
    named = os.environ.get("EDITAR_BENCH_WEIGHTS")
    return Path(named) if named else Path.home() / ".cache" / "editar-bench" / "weights"


def find_weights(published: Published, source: str) -> Path:
    """The file a source stands for; asks no network.

    Raises:
        MissingWeights: it is nowhere on this machine.
        UserError: it was converted, and is no longer what was written then.
    """
    converted = _converted(published, source)
    if converted.is_file():
        _check_converted(converted, published.model)
        return converted
    if Path(source).is_file():
        return Path(source)
    from huggingface_hub import try_to_load_from_cache

    for kind in _KINDS if _is_hub_name(source) else ():
        cached = try_to_load_from_cache(source, published.file, repo_type=kind)
        if isinstance(cached, str):
            return Path(cached)
    raise MissingWeights(_missing(published.model, published.part, source))


def find_text_encoder(source: str, model: str = "editar") -> Path:
    """The folder a source of a model stands for; asks no network.

    Raises:
        MissingWeights: it is nowhere on this machine, or only in part.
    """
    folder = Path(source)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        try:
            folder = Path(
                snapshot_download(source, allow_patterns=TEXT_FILES, local_files_only=True)
            )
        except Exception as error:  # not cached, or no name of a repository
            raise MissingWeights(_missing(model, "text encoder", source)) from error
    if not _is_whole(folder):  # of a download that was cut short the hub gives what there is
        raise MissingWeights(_missing(model, "whole text encoder", source))
    return folder


def _is_whole(text: Path) -> bool:
    """Whether a folder holds a text encoder's configuration, its tokenizer and all of its weights."""
    if not ((text / "config.json").is_file() and any((text / n).is_file() for n in _TOKENIZERS)):
        return False
    for index in text.glob("*.index.json"):
        try:
            pieces = json.loads(index.read_text())["weight_map"].values()
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return False
        if all((text / piece).is_file() for piece in pieces):
            return True
    return any((text / name).is_file() for name in ("model.safetensors", "pytorch_model.bin"))


def fetch(published: Published, source: str) -> Path:
    """Download a weights file unless it is here, convert it to safetensors and note its checksum.

    Raises:
        UserError: it cannot be downloaded, or does not fit.
    """
    try:
        found = find_weights(published, source)
    except MissingWeights:
        found = _download(published, source)
    return found if found.suffix == ".safetensors" else convert(published, source, found)


def fetch_text_encoder(source: str) -> Path:
    """Download the text encoder unless it is here.

    Raises:
        UserError: it cannot be downloaded.
    """
    try:
        return find_text_encoder(source)
    except MissingWeights:
        if Path(source).is_dir():
            raise
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=TEXT_FILES))
    except Exception as error:
        raise UserError(_refused(source, error)) from error


def convert(published: Published, source: str, file: Path) -> Path:
    """Write the tensors of a published file, checked byte by byte, as float32 safetensors.

    The file appears whole or not at all, and its checksum in the store's manifest.
    """
    from safetensors.torch import save_file

    from models.editar.checkpoint import check_bytes

    check_bytes(file)
    model = pkgutil.resolve_name(published.loader)(file, published.config)
    target = _converted(published, source)
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(target) as aside:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, str(aside))
    manifest = target.parent / MANIFEST
    listed = json.loads(manifest.read_text()) if manifest.is_file() else {}
    listed[target.name] = sha256(target)
    with written_aside(manifest) as aside:
        aside.write_text(json.dumps(listed, indent=1) + "\n")
    return target


def sha256(path: Path) -> str:
    """The checksum of a file, which may be large; computed once for as long as it is unchanged."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, size: int, time: int) -> str:
    return file_sha256(path)


def fingerprint(transformer: Path, codec: Path, text: Path) -> dict[str, str]:
    """Name to checksum of everything that decides what the model makes."""
    files = {"transformer": transformer, "codec": codec}
    # A local folder may hold the older format, which is read where there is no safetensors file.
    older = [] if any(text.glob("*.safetensors")) else ["pytorch_model*.bin"]
    for pattern in (*TEXT_FILES, *older):
        files |= {f"text/{path.name}": path for path in sorted(text.glob(pattern))}
    return {name: sha256(path) for name, path in files.items()}


def _converted(published: Published, source: str) -> Path:
    """Where a source's safetensors belong; a changed file is another source."""
    path = Path(source)
    if path.is_file():
        status = path.stat()
        source = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
    mark = hashlib.sha256(source.encode()).hexdigest()[:12]
    return store() / f"{published.part}-{mark}.safetensors"


def _is_hub_name(source: str) -> bool:
    return re.fullmatch(r"[\w.-]+/[\w.-]+", source) is not None


def _check_converted(path: Path, model: str) -> None:
    manifest = path.parent / MANIFEST
    listed = json.loads(manifest.read_text()) if manifest.is_file() else {}
    if listed.get(path.name) != sha256(path):
        raise UserError(
            f"weights: {path} is damaged (its checksum is not the one in {manifest}); "
            f"delete it and run `editar-bench prepare --model {model}`"
        )


def _download(published: Published, source: str) -> Path:
    from huggingface_hub import hf_hub_download

    reason: Exception | None = None
    if not _is_hub_name(source):
        raise MissingWeights(_missing(published.model, published.part, source))
    for kind in _KINDS:
        try:
            return Path(hf_hub_download(source, published.file, repo_type=kind))
        except Exception as error:
            reason = error
    raise UserError(_refused(source, reason)) from reason


def _missing(model: str, part: str, source: str) -> str:
    return (
        f"{model}'s {part} '{source}' is not on this machine; run `editar-bench prepare --model "
        f"{model}` where the Hugging Face hub can be reached, or name a local copy"
    )


def _refused(source: str, error: Exception | None) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
    return f"'{source}' is no local file and cannot be downloaded ({reason}); name a local copy"
