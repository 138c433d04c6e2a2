"""Where workers leave pictures and parts: the results folder, or an address that every machine reaches (`--parts`).

With an address a worker writes into a folder of its own, sends what it wrote, and reads there the pictures that it
scores; the driver collects all into the results folder, from which everything else is read. Pictures go before the
part that names them, so that a part that can be listed is whole.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from editar_bench.errors import UserError
from editar_bench.files import written_aside
from editar_bench.parts import PARTS, disk_errors
from editar_bench.pictures import PICTURES, decode_picture, picture_path, read_picture
from editar_bench.types import Picture

T = TypeVar("T")
TABLES = ("output", "score", "observation")  # that workers write
_PART = re.compile(r"\d{20}-[0-9a-f]{12}\.parquet")
_PICTURE = re.compile(r"[0-9a-f]{64}")
_rooms: dict[str, tempfile.TemporaryDirectory[str]] = {}  # of this process, by address


@dataclass(frozen=True, slots=True)
class Exchange:
    """An address as fsspec has them, `s3://bucket/run` or `file:///shared/run`; empty for the results folder."""

    url: str = ""

    def check(self) -> None:
        """Refuse an address that cannot be used from here.

        Raises:
            UserError: saying what is wrong with it.
        """
        if not self.url:
            return
        try:
            address = urlsplit(self.url)
        except ValueError:  # brackets that do not close
            address = urlsplit("")
        if not address.scheme or "://" not in self.url:
            raise UserError(
                f"--parts is '{self.url}'; write an address such as s3://bucket/run, or leave it out where all "
                "machines see the results folder."
            )
        if address.username or address.password or address.query:
            raise UserError(
                "--parts holds more than an address; addresses are stored with the results, so give keys by the "
                "variables or files of the storage's own tools."
            )
        self._call(lambda files, root: files.makedirs(root, exist_ok=True))

    def room(self, out: Path) -> Path:
        """The folder that this process writes to and reads from, in place of the results folder."""
        if not self.url:
            return out
        if self.url not in _rooms:
            _rooms[self.url] = tempfile.TemporaryDirectory(prefix="editar-bench-")
        return Path(_rooms[self.url].name)

    def send(self, room: Path) -> None:
        """Move what a worker wrote into its room to the address."""
        if not self.url:
            return
        for folder in (PICTURES, PARTS):
            for path in sorted((room / folder).rglob("*.p*")):
                if path.is_file() and not path.name.endswith((".part", ".tmp")):
                    self._call(partial(_put, path.relative_to(room).as_posix(), path.read_bytes()))
                    path.unlink()

    def picture(self, out: Path, name: str) -> Picture:
        """The picture with this hash, (H, W, 3) uint8."""
        if not self.url:
            return read_picture(out / PICTURES, name)
        path = picture_path(Path(PICTURES), name)
        return decode_picture(io.BytesIO(self._read(path)), f"{self.url}/{path}")

    def collect(self, out: Path) -> None:
        """Bring what workers sent, and is not there yet, into the results folder."""
        if not self.url:
            return
        for table in TABLES:
            for name in self._call(partial(_names, f"{PARTS}/{table}")):
                path = Path(PARTS, table, name)
                if _PART.fullmatch(name) and not (out / path).exists():
                    content = self._read(path)
                    if table == "output":
                        self._collect_pictures(out, content, name)
                    _write(out / path, content)

    def _collect_pictures(self, out: Path, part: bytes, part_name: str) -> None:
        import pyarrow as pa

        try:
            names = _pictures(part)
        except (pa.ArrowException, KeyError) as error:
            raise UserError(
                f"The part {part_name} at {self.url} cannot be read ({str(error).splitlines()[0]}); remove it there "
                "and run the same command again."
            ) from error
        for name in names:
            path = picture_path(Path(PICTURES), name)
            if not (out / path).exists():
                _write(out / path, self._read(path))

    def _read(self, path: Path) -> bytes:
        return self._call(lambda files, root: bytes(files.cat_file(f"{root}/{path.as_posix()}")))

    def _call(self, work: Callable[[Any, str], T]) -> T:
        """Do something with the file system and the root of the address."""
        from fsspec.core import url_to_fs

        try:
            files, root = url_to_fs(self.url)
            return work(files, root.rstrip("/"))
        except (ImportError, ValueError) as error:
            # The scheme is unknown, or its package is not installed.
            raise UserError(f"--parts {self.url} cannot be used ({error}).") from error
        except Exception as error:  # each kind of storage has errors of its own
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise UserError(
                f"{self.url} cannot be read or written ({reason}); what was stored before is kept, mend the address "
                "or the rights and run the same command again."
            ) from error


HERE = Exchange()


def _put(name: str, content: bytes, files: Any, root: str) -> None:
    path = PurePosixPath(root, name)
    files.makedirs(str(path.parent), exist_ok=True)
    with files.transaction:  # appears whole also where writing takes time
        files.pipe_file(str(path), content)


def _names(folder: str, files: Any, root: str) -> list[str]:
    files.invalidate_cache()
    if not files.exists(f"{root}/{folder}"):
        return []
    return sorted(PurePosixPath(path).name for path in files.ls(f"{root}/{folder}", detail=False))


def _pictures(part: bytes) -> list[str]:
    """The hashes of the pictures that a part of the table `output` names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(part), columns=["picture_hash"])
    return [name for name in table.column(0).to_pylist() if name and _PICTURE.fullmatch(name)]


def _write(path: Path, content: bytes) -> None:
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as aside:
            aside.write_bytes(content)
