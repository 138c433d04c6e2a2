"""The checksums of the shipped weights: `manifest.json` maps every file under the weights folder to its sha256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from editar_bench.errors import MissingWeights, UserError
from editar_bench.files import file_sha256, written_aside

WEIGHTS = Path(__file__).parent / "weights"
ABLATIONS = Path(__file__).parent / "ablations"  # made by `train ablations`, not shipped
MANIFEST = "manifest.json"
_RECORDS = (".training.json", ".png")  # logs and curves: no model reads them
_DECODER = ("decoder.", "post_quant_conv.")  # tensors of a codec that no code depends on
# Frozen network: its key in the config.json of what is trained with it, its file, what people call it.
_PARTNERS = {
    "codec": ("codes_sha256", "codec/codec.safetensors", "codec"),
    "text": ("text_sha256", "text/model.safetensors", "text encoder"),
    "vae": ("vae_sha256", "vae/diffusion_pytorch_model.safetensors", "autoencoder"),
    "unet": (
        "unet_sha256",
        "stable-diffusion/unet/diffusion_pytorch_model.safetensors",
        "Stable Diffusion",
    ),
}
_MEND = "fetch the repository's files again or run `editar-bench train all`"


def write_manifest(root: Path = WEIGHTS) -> None:
    """Write the checksums of all weights, configurations and tokenizers under `root`."""
    sums = {path.relative_to(root).as_posix(): file_sha256(path) for path in _files(root)}
    with written_aside(root / MANIFEST) as aside:
        aside.write_text(json.dumps(sums, indent=1) + "\n")


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
            if file_sha256(root / path) != total:
                raise UserError(
                    f"The weights file {root / path} is damaged (its checksum is not the one in "
                    f"{MANIFEST}); {_MEND}."
                )
        _check_partners(root, name)
        found |= inside
    return found


def partners(root: Path, names: Sequence[str] = ("codec", "text")) -> dict[str, str]:
    """What a generator's config.json says of the frozen networks it was trained with.

    Args:
        root: the weights folder.
        names: of "codec", "text", "vae" and "unet" (the Stable Diffusion that a ControlNet steers). A codec is known
            by what makes its codes: its decoder may be trained longer.

    Raises:
        UserError: a file is missing or is no safetensors file.
    """
    return {key: there for name in names for key, there in [_partner(root, name)]}


def codes_sha256(folder: Path) -> str:
    """A hash of what makes the codes of the codec in `folder`."""
    return _tensors_sha256(folder / "codec.safetensors", _DECODER)


def _partner(root: Path, name: str) -> tuple[str, str]:
    key, file, _ = _PARTNERS[name]
    if name == "codec":
        return key, codes_sha256(root / "codec")
    return key, _tensors_sha256(root / file)


def _check_partners(root: Path, name: str) -> None:
    """Refuse a network beside other frozen networks than it was trained with; it may not name them."""
    path = root / name / "config.json"
    named = _read_json(path) if path.is_file() else {}
    for partner, (key, _, what) in _PARTNERS.items():
        if key in named and named[key] != _partner(root, partner)[1]:
            raise UserError(
                f"The weights in {root / name} were trained with another {what} than the one in {root}; "
                f"train {name} again (`editar-bench train {name}`) or restore the one it was trained with."
            )


def _tensors_sha256(path: Path, without: tuple[str, ...] = ()) -> str:
    """A hash of a safetensors file's tensors by name, but for those whose name begins with `without`.

    Read by hand (eight bytes of length, a JSON header, the data), because importing a reader takes longer than this.
    """
    try:
        content = path.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        header.pop("__metadata__", None)
        digest = hashlib.sha256()
        for name in sorted(name for name in header if not name.startswith(without or ("\0",))):
            first, last = header[name].pop("data_offsets")
            digest.update(json.dumps([name, header[name]]).encode())
            digest.update(memoryview(content)[start + first : start + last])
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise UserError(f"The weights file {path} cannot be read ({error}); {_MEND}.") from error
    return digest.hexdigest()


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
