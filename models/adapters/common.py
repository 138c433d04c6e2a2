"""What the adapters have in common: checked settings, timed batches and libraries that load without a word."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any, TypeVar

from editar_bench.errors import UserError
from editar_bench.types import Capability, Example, Generation, How, Picture, Task

NATIVE = Capability(how=How.NATIVE)
Word = TypeVar("Word", bound=str)


def everywhere(capability: Capability) -> Mapping[Task, Capability]:
    """The same capability for every task."""
    return dict.fromkeys(Task, capability)


def number(name: str, value: Any, low: float, high: float = float("inf")) -> float:
    """A setting as a float.

    Raises:
        ValueError: it is no finite number, or outside [low, high].
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{name} is {value!r} and must be a number")
    if not low <= value <= high:
        limits = f"at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
        raise ValueError(f"{name} is {value!r} and must be {limits}")
    return float(value)


def whole(name: str, value: Any, low: int, high: float = float("inf")) -> int:
    """A setting as an int.

    Raises:
        ValueError: it is no whole number, or outside [low, high].
    """
    if number(name, value, low, high) != int(value):
        raise ValueError(f"{name} is {value!r} and must be a whole number")
    return int(value)


def one_of(name: str, value: Any, known: Collection[Word]) -> Word:
    """A setting as one of the known words.

    Raises:
        ValueError: it is none of them.
    """
    for word in known:
        if word == value:
            return word
    raise ValueError(f"{name} is {value!r} and must be one of {', '.join(known)}")


def words(name: str, value: Any) -> str:
    """A setting as text.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r} and must be text")
    return value


def label_of(row: str, settings: Mapping[str, Any]) -> str:
    """What `--model` calls a row with these settings: sorted, text between quotes where it would be read otherwise."""
    pairs = [f"{name}={_typed(value)}" for name, value in sorted(settings.items())]
    return f"{row}:{','.join(pairs)}" if pairs else row


def _typed(value: Any) -> Any:
    """A setting as it is typed; a comma would cut text, and that of a number would be read as one."""
    if not isinstance(value, str):
        return value
    try:
        json.loads(value)
        plain = False
    except ValueError:
        plain = not set(value) & set(',"')
    return value if plain else json.dumps(value, ensure_ascii=False)


def check_sizes(model: str, batch: Sequence[Example], side: int) -> None:
    """Refuse condition pictures that are not side x side.

    Raises:
        UserError: naming the sample and both sizes.
    """
    for example in batch:
        height, width = example.condition.shape[:2]
        if (height, width) != (side, side):
            raise UserError(
                f"{model} makes pictures of {side}x{side} pixels, but the condition of sample "
                f"{example.id} is {width}x{height}; resize the data set or leave the model out"
            )


def check_square(model: str, batch: Sequence[Example]) -> None:
    """Refuse condition pictures that are not square.

    Raises:
        UserError: naming the sample and its size.
    """
    for example in batch:
        height, width = example.condition.shape[:2]
        if height != width:
            raise UserError(
                f"{model} makes square pictures, but the condition of sample {example.id} is "
                f"{width}x{height}; crop the data set's pictures or leave the model out"
            )


def generations(pictures: Sequence[Picture], started: float) -> list[Generation]:
    """Pictures with the time since `started` (of `time.perf_counter`) shared among them."""
    seconds = (time.perf_counter() - started) / max(1, len(pictures))
    return [Generation(image=picture, seconds=seconds) for picture in pictures]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the loading bars and remarks of transformers and diffusers out of the command line's own."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = [
        (library, library.get_verbosity(), library.is_progress_bar_enabled())
        for library in (diffusers_logging, transformers_logging)
    ]
    for library, _, _ in libraries:
        library.disable_progress_bar()
        library.set_verbosity_error()
    try:
        yield
    finally:
        for library, verbosity, bar in libraries:
            library.set_verbosity(verbosity)
            if bar:
                library.enable_progress_bar()
