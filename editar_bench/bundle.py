"""Offline bundles: one tar file with a suite's built data, its weights, and the sha256 of every file.

The first member, `bundle.json`, says the suite and the checksums. The others are called `PLACE/PATH`, and a place is
one of the suite's folders, wherever that folder is on the machine at hand. A bundle comes from outside: its names are
never used as paths before they are checked, and nothing is written before every file is whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from editar_bench.errors import UserError
from editar_bench.files import file_sha256, written_aside
from editar_bench.parts import disk_errors

INDEX: Final = "bundle.json"
_PIECE: Final = 2**20  # bytes read at once
_INDEX_LIMIT: Final = 4 * 2**20  # bytes; a real one has a few kilobytes

Places = Mapping[str, Path]  # name in the bundle -> folder on this machine


def write_bundle(path: Path, suite: str, places: Places) -> int:
    """Write all files of the places into one tar file, whole or not at all; returns how many.

    Raises:
        UserError: the file cannot be written, or a file of the places changes meanwhile.
    """
    files = {name: file for name, file in _files(places)}
    sums = {name: file_sha256(file) for name, file in files.items()}
    index = json.dumps({"suite": suite, "sha256": sums}, indent=1).encode()
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as aside, tarfile.open(aside, "w") as tar:
            _add(tar, INDEX, io.BytesIO(index), len(index))
            for name, file in files.items():
                with file.open("rb") as content:
                    total = _Summed(content)
                    _add(tar, name, total, file.stat().st_size)
                if total.hexdigest() != sums[name]:
                    raise UserError(f"{file} changed while the bundle was written; run it again.")
    return len(files)


def unpack_bundle(path: Path, suite: str, places: Places) -> int:
    """Verify a bundle, then put its files into the places; returns how many were not there already.

    Raises:
        UserError: it is no bundle of this suite, a file of it is damaged, missing or leads elsewhere, or another file
            is where one would go. Then nothing has been written.
    """
    with _opened(path) as tar:
        sums = _checksums(tar, path, suite)
        targets = {name: _target(path, name, places) for name in sums}
        _check_no_file_is_a_folder(path, targets)
        found = set()
        for name, content in _members(tar, path, sums):
            content.drain()
            found.add(name)
        if missing := sorted(sums.keys() - found):
            raise UserError(f"{path} lacks {missing[0]}; copy the bundle again.")
        there = {name for name, target in targets.items() if _is_there(target, sums[name])}
        for name, content in _members(tar, path, sums):
            if name not in there:
                _write(targets[name], content, sums[name])
    return len(sums) - len(there)


def _files(places: Places) -> Iterator[tuple[str, Path]]:
    for place, folder in places.items():
        for file in sorted(folder.rglob("*")):
            relative = file.relative_to(folder)
            hidden = any(part.startswith(".") for part in relative.parts)
            if file.is_file() and not file.is_symlink() and not hidden:
                yield f"{place}/{relative.as_posix()}", file


def _add(tar: tarfile.TarFile, name: str, content: Any, size: int) -> None:
    member = tarfile.TarInfo(name)  # no owner, no time: equal files make equal bundles
    member.size = size
    tar.addfile(member, content)


class _Member(tarfile.TarInfo):
    """A header whose sizes are not negative: Python before 3.13.6 reads such a file for ever (CVE-2025-8194)."""

    def _block(self, count: int) -> int:
        if count < 0:
            raise tarfile.HeaderError("negative size")
        return super()._block(count)  # type: ignore[misc, no-any-return]  # private, as the mend upstream


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    file = _file(path)
    try:
        # Never compressed, so that it cannot swell.
        with file, tarfile.open(fileobj=file, mode="r:", tarinfo=_Member) as tar:
            yield tar
    except (
        tarfile.TarError,
        EOFError,
        ValueError,
        OverflowError,
        OSError,
        RecursionError,
    ) as error:
        raise UserError(
            f"{path} cannot be read as a bundle ({error}); copy it again from the machine where "
            "`editar-bench prepare --bundle` wrote it."
        ) from error


def _file(path: Path) -> IO[bytes]:
    try:
        if not path.is_file():  # opening a pipe would never end
            raise UserError(f"There is no bundle {path}; give the path of the copied file.")
        return path.open("rb")
    except OSError as error:
        raise UserError(
            f"The bundle {path} cannot be opened ({error.strerror}); give the path of the copied file."
        ) from error


def _checksums(tar: tarfile.TarFile, path: Path, suite: str) -> dict[str, str]:
    member = tar.next()
    if member is None or member.name != INDEX or member.size > _INDEX_LIMIT:
        raise UserError(f"{path} is no bundle of editar-bench: it does not begin with {INDEX}.")
    try:
        index: dict[str, Any] = json.loads(_content(tar, member))
        sums = {str(name): str(total) for name, total in index["sha256"].items()}
        made_for = str(index["suite"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"The list {INDEX} of {path} cannot be read; copy it again.") from error
    if made_for != suite:
        raise UserError(f"{path} was made for the suite '{made_for}', not '{suite}'; name --suite.")
    return sums


def _members(
    tar: tarfile.TarFile, path: Path, sums: Mapping[str, str]
) -> Iterator[tuple[str, _Summed]]:
    """Every file after the index, to be read to its end, when it is checked.

    Links, devices, sparse files and unlisted names are refused.
    """
    for member in tar.getmembers()[1:]:
        if not member.isreg() or member.issparse() or member.name not in sums:
            raise UserError(
                f"{path} holds {member.name!r}, which is not in its list of files; do not use it."
            )
        content = _Summed(tar.extractfile(member) or io.BytesIO())
        yield member.name, content
        if content.started and content.hexdigest() != sums[member.name]:
            raise UserError(f"{member.name} in {path} is damaged; copy the bundle again.")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return b"" if file is None else file.read()


def _target(path: Path, name: str, places: Places) -> Path:
    """Where a file goes; a name that leads out of its place is refused."""
    place, _, relative = name.partition("/")
    inside = PurePosixPath(relative)
    # As it would be written: no empty, no "." and no absolute part.
    good = place in places and inside.parts and inside.as_posix() == relative
    if not good or inside.is_absolute() or ".." in inside.parts or "\0" in name:
        raise UserError(
            f"{path} wants to write {name!r}, which is no place of this suite; do not use it."
        )
    return places[place] / inside


def _check_no_file_is_a_folder(path: Path, targets: Mapping[str, Path]) -> None:
    files = set(targets.values())
    for name, target in targets.items():
        if not files.isdisjoint(target.parents):
            raise UserError(f"{path} wants {name!r} inside of another file; do not use it.")


def _is_there(target: Path, total: str) -> bool:
    if not target.exists():
        return False
    if not target.is_file() or file_sha256(target) != total:
        raise UserError(
            f"{target} is already there and differs from the bundle's; move it away and give the "
            "same command again."
        )
    return True


def _write(target: Path, content: _Summed, total: str) -> None:
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                shutil.copyfileobj(content, file)  # type: ignore[misc]  # it has the one method that is needed
            if content.hexdigest() == total:  # otherwise the bundle changed since it was checked
                os.replace(aside, target)
        finally:
            aside.unlink(missing_ok=True)


class _Summed:
    """A file that sums up what is read of it, a piece at a time: files of data sets do not fit into memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest, self.started = file, hashlib.sha256(), False

    def read(self, size: int = -1) -> bytes:
        """The next piece."""
        piece = self._file.read(size)
        self._digest.update(piece)
        self.started = True
        return piece

    def drain(self) -> None:
        """Read to the end."""
        while self.read(_PIECE):
            pass

    def hexdigest(self) -> str:
        """Of what was read so far."""
        return self._digest.hexdigest()
