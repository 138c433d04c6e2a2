"""Where the files of a diffusers pipeline are: a local folder, a copy of a hub repository, or the hub's cache.

A run asks no network; `editar-bench prepare --model NAME` does. Code of a repository is never run: a pipeline whose
index names classes of other packages than diffusers and transformers is refused.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from editar_bench.errors import MissingWeights, UserError
from models.editar.released import sha256

INDEX, CONFIG = "model_index.json", "config.json"
UNWANTED = ("safety_checker", "feature_extractor")  # parts that no benchmark runs
_TOKENIZER = "tokenizer_config.json"
_WORDS = (
    {"tokenizer.json"},
    {"vocab.json", "merges.txt"},
    {"spiece.model"},
    {"tokenizer.model"},
    {"vocab.txt"},
)
_SMALL = (".json", ".txt", ".model")
# Of several copies of a network the plain one: no half precision, no weights before averaging, none for OpenCLIP.
_PLAIN = re.compile(r"(?!open_clip)[^.]+\.(safetensors|bin)")
_SPREAD = re.compile(r"[^.]+\.(safetensors|bin)\.index\.json")  # which file has which tensor
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # ./x and ../x are folders


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A pipeline, or one network for a pipeline, as a setting names it.

    `place` is a folder or `owner/name` on the hub; `folder` is where in it the network lies, and `config` the file
    that every copy has.
    """

    place: str
    folder: str = ""
    pipeline: bool = False
    config: str = CONFIG

    @property
    def path(self) -> str:
        """As a setting names it."""
        return str(PurePosixPath(self.place, self.folder))

    @property
    def marker(self) -> str:
        """The file that every copy has, in the repository."""
        return INDEX if self.pipeline else str(PurePosixPath(self.folder, self.config))

    def part(self, name: str, config: str = CONFIG) -> Source:
        """A folder inside this one."""
        folder = str(PurePosixPath(self.folder, name))
        return Source(place=self.place, folder=folder, config=config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A pipeline or network on this machine, complete and without foreign code."""

    folder: Path
    files: tuple[str, ...]  # everything that is read, relative to `folder`

    def fingerprint(self, prefix: str) -> dict[str, str]:
        """Name to sha256 of every file."""
        return {f"{prefix}/{name}": sha256(self.folder / name) for name in self.files}


def find(source: Source, model: str) -> Found:
    """The files that a source stands for; asks no network.

    Args:
        source: what a setting named.
        model: its registry name, for the sentence.

    Raises:
        MissingWeights: it is nowhere on this machine, or only in part.
        UserError: it brings code of its own, or its index cannot be read.
    """
    lacking = source.path
    if Path(source.place).is_dir():
        lacking = str(PurePosixPath(source.place, source.marker))
    for root in _places(source.place):
        folder = root / source.folder
        if (root / source.marker).is_file():
            parts = read_parts(folder) if source.pipeline else [""]
            names = [path.relative_to(folder).as_posix() for path in _files(folder)]
            files = chosen(names, parts)
            absent = _incomplete(folder, files, parts)
            if not absent:
                _check_configs(folder, files)
                return Found(folder=folder, files=(*([INDEX] if source.pipeline else []), *files))
            lacking = f"{source.place} (its part {absent})"  # a later place may have all of it
    raise MissingWeights(_missing(lacking, source.place, model))


def fetch(source: Source, model: str) -> Path:
    """Download what is not on this machine yet; returns the folder.

    Raises:
        UserError: it cannot be downloaded, or it is something that `find` refuses.
    """
    try:
        return find(source, model).folder
    except MissingWeights:
        if _is_local(source.place):
            raise
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    try:
        marker = Path(hf_hub_download(source.place, source.marker))
        parts = read_parts(marker.parent) if source.pipeline else [source.folder]
        files = chosen(HfApi().list_repo_files(source.place), parts)
        snapshot_download(source.place, allow_patterns=[source.marker, *files])
    except UserError:
        raise
    except Exception as error:  # offline, unknown, gated, disk full: the hub has a kind for each
        reason = next(iter(str(error).strip().splitlines()), repr(error))
        raise UserError(
            f"'{source.place}' cannot be downloaded ({reason}); log in with `hf auth login` where "
            "its license must be accepted first, or name a local copy"
        ) from error
    return find(source, model).folder


def read_index(folder: Path) -> tuple[str, Mapping[str, tuple[str, str]]]:
    """The class of a saved pipeline, and of each part its package and class.

    Raises:
        UserError: the index cannot be read, or names classes of other packages.
    """
    path = folder / INDEX
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        kind, entries = listed["_class_name"], listed.items()
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{path} cannot be read as a pipeline's index; fetch it again") from error
    if not isinstance(kind, str):
        raise _foreign(path, kind)
    parts = {}
    for name, value in entries:
        if name.startswith("_") or not isinstance(value, list) or value[:1] == [None]:
            continue
        if len(value) != 2 or value[0] not in _packages() or not isinstance(value[1], str):
            raise _foreign(path, value)
        parts[name] = (value[0], value[1])
    return kind, parts


def read_parts(folder: Path) -> list[str]:
    """The parts of a saved pipeline that a run needs; see `read_index` for what it raises."""
    parts = read_index(folder)[1]
    # An extractor without a checker is of a network that is wanted.
    unwanted = UNWANTED if "safety_checker" in (folder / INDEX).read_text(encoding="utf-8") else ()
    return [name for name in parts if name not in unwanted]


def tensor_files(folder: Path) -> list[Path]:
    """The safetensors files that loading a network from a folder reads."""
    own = (path for path in sorted(folder.glob("*.safetensors")) if path.is_file())
    return [path for path in own if _PLAIN.fullmatch(path.name)]


def chosen(names: Iterable[str], parts: Collection[str]) -> list[str]:
    """Of a repository's files those that loading these parts reads, sorted.

    Small files all; of the weights the plain safetensors, or the plain pickles where a part has no safetensors (they
    are read with `weights_only`).
    """
    by_part: dict[str, list[str]] = {part: [] for part in parts}
    for name in names:
        part = "/".join(name.split("/")[:-1])
        if part in by_part:
            by_part[part].append(name)
    files = []
    for own in by_part.values():
        weights = [name for name in own if _PLAIN.fullmatch(PurePosixPath(name).name)]
        tensors = [name for name in weights if name.endswith(".safetensors")]
        small = [name for name in own if name.endswith(_SMALL)]
        files += small + (tensors or weights)
    return sorted(files)


def _incomplete(folder: Path, files: Collection[str], parts: Iterable[str]) -> str:
    """A part without a file, or without the weights or words that its configuration belongs to; "" if there is none."""
    for part in parts:
        own = {n.rpartition("/")[2] for n in files if n.rpartition("/")[0] == part}
        if not own or (CONFIG in own and not any(_PLAIN.fullmatch(name) for name in own)):
            return part or CONFIG
        if _TOKENIZER in own and not any(words <= own for words in _WORDS):
            return part or _TOKENIZER
        if not _pieces(folder / part, own) <= own:  # a download that was cut short
            return part or CONFIG
    return ""


def _pieces(folder: Path, own: Collection[str]) -> set[str]:
    """The files over which the indices of a part spread its weights; of pickles only where they are what is read."""
    kinds = {name.rpartition(".")[2] for name in own if _PLAIN.fullmatch(name)}
    found: set[str] = set()
    for name in own:
        index = _SPREAD.fullmatch(name)
        if index and index[1] in kinds:
            try:
                listed = json.loads((folder / name).read_text(encoding="utf-8"))
                found |= set(listed["weight_map"].values())
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise UserError(f"{folder / name} is damaged; fetch it again") from error
    return found


def _check_configs(folder: Path, files: Iterable[str]) -> None:
    """Refuse parts whose configuration would have transformers load classes from the repository."""
    for name in files:
        if name.endswith(CONFIG):
            try:
                listed = json.loads((folder / name).read_text(encoding="utf-8"))
            except ValueError as error:
                raise UserError(f"{folder / name} is damaged; fetch it again") from error
            if isinstance(listed, dict) and "auto_map" in listed:
                raise _foreign(folder / name, listed["auto_map"])


def _places(place: str) -> Iterable[Path]:
    """Where a source may be, in order: the folder itself, the user's copies, the hub's cache."""
    yield Path(place)
    if not _HUB_NAME.fullmatch(place):
        return
    named = os.environ.get("EDITAR_BENCH_WEIGHTS")
    if named:
        yield Path(named) / place
    from huggingface_hub import constants

    repository = Path(constants.HF_HUB_CACHE) / f"models--{place.replace('/', '--')}"
    main = repository / "refs" / "main"
    if main.is_file():
        yield repository / "snapshots" / main.read_text().strip()


def _files(folder: Path) -> Iterable[Path]:
    """The files of a folder and of its own folders, which is as deep as pipelines go."""
    return (path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file())


@functools.cache
def _packages() -> frozenset[str]:
    """What an index may name: the two libraries, and diffusers' own folders of pipelines."""
    from importlib.util import find_spec

    spec = find_spec("diffusers")
    roots = (spec.submodule_search_locations or []) if spec else []
    folders = (path for root in roots for path in Path(root, "pipelines").iterdir())
    return frozenset({"diffusers", "transformers", *(p.name for p in folders if p.is_dir())})


def _foreign(path: Path, named: Any) -> UserError:
    return UserError(
        f"{path} names {named!r}, which is no class of diffusers or transformers; code from a "
        "repository is never run, so score its pictures with `editar-bench score` instead"
    )


def _is_local(place: str) -> bool:
    """Whether a place can only be a folder, which nothing fetches."""
    return not _HUB_NAME.fullmatch(place) or Path(place).is_dir()


def _missing(what: str, place: str, model: str) -> str:
    if _is_local(place):
        return f"{what} is not on this machine; name another folder in the model's settings"
    return (
        f"{what} is not on this machine; run `editar-bench prepare --model {model}` where the "
        "Hugging Face hub can be reached, or name a local copy in the model's settings"
    )
