"""The checksums of the shipped weights: `manifest.json` maps every file under the weights folder to its sha256."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from editar_bench.errors import MissingWeights, UserError

WEIGHTS = Path(__file__).parent / "weights"
MANIFEST = "manifest.json"
_RECORDS = (".training.json", ".png")  # logs and curves: no model reads them
# The key of a network's config.json that names the weights it was trained with -> where those lie.
_PARTNERS = {"codec_sha256": "codec/codec.safetensors", "text_sha256": "text/model.safetensors"}
_MEND = "fetch the repository's files again or run `editar-bench train all`"


def write_manifest(root: Path = WEIGHTS) -> None:
    """Write the checksums of all weights, configurations and tokenizers under `root`."""
    sums = {path.relative_to(root).as_posix(): _sha256(path) for path in _files(root)}
    partial = root / f".{MANIFEST}.{os.getpid()}"
    partial.write_text(json.dumps(sums, indent=1) + "\n")
    os.replace(partial, root / MANIFEST)


def checked(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Path to sha256 of everything in the folders `names`, each file present and unchanged.

    Raises:
        MissingWeights: a folder or one of its files is not there.
        UserError: the manifest cannot be read, a file is not the one it lists, or the weights were trained with
            another codec or text encoder than the one that is there.
    """
    listed = _read(root)
    found: dict[str, str] = {}
    for name in names:
        inside = {path: total for path, total in listed.items() if path.startswith(f"{name}/")}
        if not inside:
            raise MissingWeights(f"There are no weights in {root / name}; {_MEND}.")
        for path, total in inside.items():
            if not (root / path).is_file():
                raise MissingWeights(f"The weights file {root / path} is missing; {_MEND}.")
            if _sha256(root / path) != total:
                raise UserError(
                    f"The weights file {root / path} is damaged (its checksum is not the one in "
                    f"{MANIFEST}); {_MEND}."
                )
        _check_partners(root, name, listed)
        found |= inside
    return found


def _check_partners(root: Path, name: str, listed: Mapping[str, str]) -> None:
    """Refuse a network beside another codec or text encoder than it was trained with; it may not name them."""
    path = root / name / "config.json"
    if not path.is_file():
        return
    config = _read_json(path)
    for key, partner in _PARTNERS.items():
        if key in config and config[key] != listed.get(partner):
            raise UserError(
                f"The weights in {root / name} were trained with another {root / partner} than the "
                f"one that is there; train {name} again (`editar-bench train {name}`) or restore "
                "the one it was trained with."
            )


def _read(root: Path) -> dict[str, str]:
    path = root / MANIFEST
    if not path.is_file():
        raise MissingWeights(f"There are no weights: {path} is missing; {_MEND}.")
    return {name: str(total) for name, total in _read_json(path).items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return {str(key): value for key, value in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path} cannot be read as a JSON object; {_MEND}.") from error


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        record = path.name == MANIFEST or path.name.endswith(_RECORDS)
        if path.is_file() and not hidden and not record:
            yield path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
