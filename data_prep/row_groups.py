"""The rows of a Parquet file by index, a few row groups in memory at a time.

Data sets are written in small row groups, so that a sample costs its group and no more: a set of any size can be
opened, read in order in constant memory, and sent to a worker as the name of its file.
"""

from __future__ import annotations

import bisect
import threading
from collections import OrderedDict
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editar_bench.errors import UserError

if TYPE_CHECKING:
    from datasets import Features
    from pyarrow import Table
    from pyarrow.parquet import ParquetFile

Row = dict[str, Any]
KEPT = 8  # row groups; neighbors share one, and a shuffled partner lies in another


class RowGroups:
    """Rows as `pyarrow` has them; image cells are structs of bytes and path.

    Args:
        path: the file.
        command: what makes it anew, for error messages.

    Raises:
        UserError: it cannot be read.
    """

    def __init__(self, path: Path, command: str) -> None:
        from datasets import Features

        self.path, self.command = path, command
        self._file = self._open()
        metadata = self._file.metadata
        sizes = (metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
        self._stops = list(accumulate(sizes))
        self.features: Features = Features.from_arrow_schema(self._file.schema_arrow)
        self._kept: OrderedDict[int, Table] = OrderedDict()
        self._mutex = threading.Lock()

    def __len__(self) -> int:
        return self._stops[-1] if self._stops else 0

    def __getitem__(self, index: int) -> Row:
        group = bisect.bisect_right(self._stops, index)
        start = self._stops[group - 1] if group else 0
        with self._mutex:
            table = self._group(group)
        row: Row = table.slice(index - start, 1).to_pylist()[
            0
        ]  # the others stay as compact as they are
        return row

    def __reduce__(self) -> tuple[type[RowGroups], tuple[Path, str]]:
        return RowGroups, (self.path, self.command)

    def column(self, name: str) -> Iterable[Any]:
        """The cells of one column in order; the others are not read."""
        for batch in self._file.iter_batches(batch_size=64, columns=[name]):
            yield from batch.column(0).to_pylist()

    def _group(self, number: int) -> Table:
        import pyarrow

        if number not in self._kept:
            try:
                self._kept[number] = self._file.read_row_group(number)
            except (OSError, pyarrow.ArrowException) as error:
                raise self._damaged(error) from error
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number]

    def _open(self) -> ParquetFile:
        import pyarrow
        import pyarrow.parquet

        try:
            return pyarrow.parquet.ParquetFile(self.path)
        except (OSError, pyarrow.ArrowException) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> UserError:
        return UserError(
            f"The data file {self.path} cannot be read ({error}); delete it and run "
            f"`{self.command}`."
        )
