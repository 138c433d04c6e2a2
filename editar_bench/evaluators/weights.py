"""The evaluators' weights on disk: half precision, with a checksum for every file.

A folder holds `manifest.json` (path to sha256 and generation), `segmenter.safetensors`,
`depth.safetensors`, `clip/` (weights, `clip_config.json`, `spiece.model`) and
`reference_embeddings.safetensors`. A file's generation counts how often it was changed: it is part
of the version of every metric that reads it, so that retrained evaluators score pictures anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from editar_bench.errors import UserError
from editar_bench.files import file_sha256, written_aside

if TYPE_CHECKING:
    from torch import Tensor, nn

DEFAULT_FOLDER = Path(__file__).with_name("weights")
MANIFEST = "manifest.json"
REFERENCE = "reference_embeddings.safetensors"
FILES: dict[str, tuple[str, ...]] = {
    "segmenter": ("segmenter.safetensors",),
    "depth": ("depth.safetensors",),
    "clip": ("clip/clip.safetensors", "clip/clip_config.json", "clip/spiece.model"),
    "reference": (REFERENCE,),
}


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Path to {"sha256", "generation"}; empty where there is no manifest yet."""
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        files: dict[str, dict[str, Any]] = json.loads(path.read_text())["files"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"The evaluators' list {path} cannot be read; {_MEND}") from error
    return files


def generation(names: Sequence[str], folder: Path = DEFAULT_FOLDER) -> int:
    """How often the files of these evaluators have changed, all together; 0 without weights."""
    files = read_manifest(folder)
    return sum(files[path]["generation"] for n in names for path in FILES[n] if path in files)


def fingerprint(name: str, folder: Path = DEFAULT_FOLDER) -> str:
    """A hash of an evaluator's files, as the manifest has them."""
    return _fingerprint(read_manifest(folder), name)


def checked_files(name: str, folder: Path = DEFAULT_FOLDER) -> list[Path]:
    """The files of an evaluator, each of them present and unchanged.

    Raises:
        UserError: a file is missing, or its checksum is not the manifest's.
    """
    files = read_manifest(folder)
    for path in FILES[name]:
        if path not in files or not (folder / path).is_file():
            raise UserError(f"The evaluator file {folder / path} is missing; {_MEND}")
        if file_sha256(folder / path) != files[path]["sha256"]:
            raise UserError(
                f"The evaluator file {folder / path} is damaged (its checksum is not the one in "
                f"{MANIFEST}); {_MEND}"
            )
    return [folder / path for path in FILES[name]]


def load_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checked file in float32."""
    from safetensors.torch import load_file

    return {name: tensor.float() for name, tensor in load_file(path).items()}


def save_evaluator(name: str, module: nn.Module, folder: Path = DEFAULT_FOLDER) -> None:
    """Write "segmenter", "depth" or "clip" in half precision and enter it in the manifest."""
    from safetensors.torch import save

    state = {
        key: tensor.detach().cpu().half().contiguous()
        for key, tensor in module.state_dict().items()
    }
    contents = [save(state)]
    if name == "clip":
        contents += [_json(module.config), module.tokenizer.model]
    _write(folder, dict(zip(FILES[name], contents, strict=True)))


def save_reference(embeddings: NDArray[Any], folder: Path = DEFAULT_FOLDER) -> None:
    """Write the embeddings (N, D) of the reference renders by the segmenter in `folder`."""
    from safetensors.numpy import save

    files = read_manifest(folder)
    content = save(
        {"embeddings": np.ascontiguousarray(embeddings, dtype=np.float16)},
        metadata={"segmenter": _fingerprint(files, "segmenter")},
    )
    _write(folder, {REFERENCE: content})


def load_reference(folder: Path = DEFAULT_FOLDER) -> NDArray[np.float64]:
    """The reference embeddings (N, D).

    Raises:
        UserError: missing, damaged, or made by another segmenter than the folder's.
    """
    from safetensors import safe_open

    (path,) = checked_files("reference", folder)
    with safe_open(path, framework="numpy") as file:
        maker = (file.metadata() or {}).get("segmenter")
        embeddings: NDArray[np.float64] = file.get_tensor("embeddings").astype(np.float64)
    if maker != fingerprint("segmenter", folder):
        raise UserError(
            f"The reference embeddings {path} were made by another segmenter than the one beside "
            f"them; {_MEND}"
        )
    return embeddings


_MEND = "fetch the repository's files again or run `editar-bench train all`."


def _fingerprint(files: dict[str, dict[str, Any]], name: str) -> str:
    hashes = [files.get(path, {}).get("sha256", "") for path in FILES[name]]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _json(record: Any) -> bytes:
    return (json.dumps(record, indent=1) + "\n").encode()


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    """Write files whole or not at all, then their checksums."""
    files = read_manifest(folder)
    for path, content in contents.items():
        _replace(folder / path, content)
        digest = hashlib.sha256(content).hexdigest()
        old = files.get(path, {"sha256": "", "generation": 0})
        changed = digest != old["sha256"]
        files[path] = {"sha256": digest, "generation": old["generation"] + int(changed)}
    _replace(folder / MANIFEST, _json({"files": dict(sorted(files.items()))}))


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside:
        aside.write_bytes(content)
