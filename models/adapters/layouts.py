"""How systems write their finished pictures: which file belongs to which sample.

Each layout was read in the system's own repository; a data set's numbers count its samples in the published order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from editar_bench.errors import UserError

_NUMBERED = re.compile(r".+-(\d{5})")  # ids of data sets whose samples are numbered
_COUNTED = re.compile(r".+-(\d{5,})")  # UniControl: prompt, then a number that counts all pictures
_PIE_BENCH = "pie-bench-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the picture of a sample lies in a folder.

    `find` names every picture of a folder; `key` says under which name a sample's picture is to be found, given its
    id, the repeat and the number of repeats, "" if it can have none.
    """

    pattern: str  # for people
    find: Callable[[Path], Iterator[tuple[str, Path]]]
    key: Callable[[str, int, int], str]
    repeated: bool = False  # a sample can have several pictures
    strip: bool = False  # where a picture is not square, its bottom right is meant

    def pictures(self, folder: Path) -> Mapping[str, Path]:
        """Every picture of a folder by its name in this layout.

        Raises:
            UserError: two pictures have one name.
        """
        found: dict[str, Path] = {}
        for name, path in sorted(self.find(folder)):
            if name in found:
                raise UserError(
                    f"{found[name]} and {path} are both called {name}; name the folder of one run."
                )
            found[name] = path
        return found


def _number(sample: str) -> int | None:
    match = _NUMBERED.fullmatch(sample)
    return int(match[1]) if match else None


def _plain(folder: Path) -> Iterator[tuple[str, Path]]:
    return ((path.name, path) for path in folder.glob("*.png"))


def _plain_key(sample: str, repeat: int, repeats: int) -> str:
    return f"{sample}.png"


def _strips(folder: Path) -> Iterator[tuple[str, Path]]:
    return ((p.stem, p) for p in folder.rglob("*") if p.suffix in (".jpg", ".png") and p.is_file())


def _strip_key(sample: str, repeat: int, repeats: int) -> str:
    return sample.removeprefix(_PIE_BENCH) if sample.startswith(_PIE_BENCH) else ""


def _groups(folder: Path) -> Iterator[tuple[str, Path]]:
    for parent in (folder, folder / "images"):
        for path in parent.glob("group_*/*.png"):
            if path.stem.isdecimal():  # beside them lie what the script detected in them
                yield f"{path.parent.name}/{path.name}", path


def _group_key(sample: str, repeat: int, repeats: int) -> str:
    number = _number(sample)
    return "" if number is None else f"group_{repeat}/{number}.png"


def _numbers(folder: Path) -> Iterator[tuple[str, Path]]:
    for parent in (folder, folder / "visualization"):
        for path in parent.glob("*.png"):
            if path.stem.isdecimal():
                yield path.name, path


def _number_key(sample: str, repeat: int, repeats: int) -> str:
    number = _number(sample)
    return "" if number is None else f"{number:06d}.png"


def _counted(folder: Path) -> Iterator[tuple[str, Path]]:
    for parent in (folder, folder / "samples"):
        for path in parent.glob("*.png"):
            match = _COUNTED.fullmatch(path.stem)
            if match:
                yield match[1], path


def _count_key(sample: str, repeat: int, repeats: int) -> str:
    number = _number(sample)
    return "" if number is None else f"{number * repeats + repeat:05d}"


LAYOUTS: Mapping[str, Layout] = {
    "plain": Layout(pattern="<sample id>.png", find=_plain, key=_plain_key),
    # github.com/cure-lab/PnPInversion: output/<method>/annotation_images/…, as PIE-Bench's own tree; its strips show
    # text, source and reconstruction before the edit.
    "pnpinversion": Layout(
        pattern="<12 digits of PIE-Bench>.jpg in any folder",
        find=_strips,
        key=_strip_key,
        strip=True,
    ),
    # github.com/liming-ai/ControlNet_Plus_Plus: eval/eval.py, one group a repeat.
    "controlnetpp": Layout(
        pattern="images/group_<repeat>/<number>.png", find=_groups, key=_group_key, repeated=True
    ),
    # github.com/hustvl/ControlAR: autoregressive/test/test_t2i.py.
    "controlar": Layout(pattern="visualization/<six digits>.png", find=_numbers, key=_number_key),
    # github.com/salesforce/UniControl: inference_demo.py; a sample's repeats follow each other.
    "unicontrol": Layout(
        pattern="samples/<prompt>-<five digits>.png", find=_counted, key=_count_key, repeated=True
    ),
}
