"""MagicBrush's and Emu Edit's scores, and the direction of an edit in CLIP space.

MagicBrush (Zhang et al. 2023) compares with the true picture, Emu Edit (Sheynin et al. 2024) with the source. Emu
Edit never said which networks it used; here they are MagicBrush's, as UltraEdit has them. Cosines are not scaled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from editar_bench.contracts import Direction, MetricInfo
from editar_bench.metrics._base import EDIT, Undefined, target
from editar_bench.metrics._released import WithReleased
from editar_bench.types import Example, Picture

CLIP, DINO = "clip-B32", "dino-vits16"


def _info(
    name: str,
    protocol: str,
    direction: Direction,
    what: str,
    unit: str = "cosine",
    version: int = 1,
) -> MetricInfo:
    return MetricInfo(
        name=name,
        protocol=protocol,
        unit=unit,
        direction=direction,
        version=version,
        tasks=EDIT,
        description=what,
    )


def truth_of(example: Example) -> Picture:
    """The true edited picture."""
    return target(example)


def source_of(example: Example) -> Picture:
    """The picture before the edit."""
    return example.condition


def caption_of(example: Example, *, edited: bool = True) -> str:
    """The caption of the edited picture, or of the source."""
    text = example.target_caption if edited else example.source_caption
    if not text:
        raise Undefined("the data has no caption of the picture for this sample")
    return text


def all_defined(read: Callable[[Example], Any], examples: Sequence[Example]) -> list[Any]:
    """What `read` gives for those examples that have it: a batch to be computed ahead."""
    found = []
    for example in examples:
        with suppress(Undefined):
            found.append(read(example))
    return found


class _Difference(WithReleased):
    AGAINST: ClassVar[Any]
    POWER: ClassVar[int]

    def value(self, example: Example, image: Picture) -> float:
        """Mean over pixels and channels, colors in [0, 1]."""
        other = type(self).AGAINST(example)
        difference = np.abs(resized(image, other).astype(np.float64) - other) / 255
        return float(np.mean(difference**self.POWER))


class MagicBrushL1(_Difference):
    """Absolute difference to the truth."""

    AGAINST, POWER = truth_of, 1
    INFO = _info(
        "mb_l1",
        "magicbrush.l1",
        "lower",
        "MagicBrush: mean absolute difference to the true picture",
        "difference in [0, 1]",
    )


class MagicBrushL2(_Difference):
    """Squared difference to the truth."""

    AGAINST, POWER = truth_of, 2
    INFO = _info(
        "mb_l2",
        "magicbrush.l2",
        "lower",
        "MagicBrush: mean squared difference to the true picture",
        "squared difference in [0, 1]",
    )


class EmuL1(_Difference):
    """Absolute difference to the source."""

    AGAINST, POWER = source_of, 1
    INFO = _info(
        "emu_l1",
        "emu.l1",
        "lower",
        "Emu Edit: mean absolute difference to the source",
        "difference in [0, 1]",
    )


class _ClipImage(WithReleased):
    ROLES = (CLIP,)
    AGAINST: ClassVar[Any]

    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Embed results and references at once."""
        self.networks.pictures(CLIP, [*images, *all_defined(type(self).AGAINST, examples)])

    def value(self, example: Example, image: Picture) -> float:
        """Cosine of result and reference."""
        a_D, b_D = self.networks.pictures(CLIP, [image, type(self).AGAINST(example)])
        return float(a_D @ b_D)


class MagicBrushClipImage(_ClipImage):
    """CLIP-I to the truth."""

    AGAINST = truth_of
    INFO = _info(
        "mb_clip_image", "clip.B32.image", "higher", "MagicBrush: CLIP-I of result and true picture"
    )


class EmuClipImage(_ClipImage):
    """CLIP-I to the source."""

    AGAINST = source_of
    INFO = _info(
        "emu_clip_image", "emu.clip.B32.image", "higher", "Emu Edit: CLIP-I of result and source"
    )


class MagicBrushClipText(WithReleased):
    """CLIP-T: result and caption."""

    ROLES = (CLIP,)
    INFO = _info(
        "mb_clip_text",
        "clip.B32.text",
        "higher",
        "MagicBrush: CLIP-T of result and caption",
        version=2,
    )

    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Embed results and captions at once."""
        self.networks.pictures(CLIP, images)
        self.networks.texts(CLIP, all_defined(caption_of, examples))

    def value(self, example: Example, image: Picture) -> float:
        """Cosine, negative ones kept."""
        (image_D,) = self.networks.pictures(CLIP, [image])
        (text_D,) = self.networks.texts(CLIP, [caption_of(example)])
        return float(image_D @ text_D)


class EmuClipOut(MagicBrushClipText):
    """CLIP-out: result and output caption."""

    INFO = _info(
        "emu_clip_out",
        "emu.clip.B32.out",
        "higher",
        "Emu Edit: CLIP of result and output caption",
        version=2,
    )


class EmuClipDirection(WithReleased):
    """Does the picture change in the direction in which the caption does (Gal et al. 2022)?"""

    ROLES = (CLIP,)
    INFO = _info(
        "emu_clip_direction",
        "emu.clip.B32.direction",
        "higher",
        "cosine of the changes of picture and caption in CLIP space",
        version=2,
    )

    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Embed sources, results and both captions at once."""
        self.networks.pictures(CLIP, [*(e.condition for e in examples), *images])
        for edited in (False, True):
            self.networks.texts(CLIP, all_defined(partial(caption_of, edited=edited), examples))

    def value(self, example: Example, image: Picture) -> float:
        """Cosine of two differences of unit vectors; 0, as published, where the picture did not change."""
        before, after = self.networks.pictures(CLIP, [example.condition, image])
        captions = [caption_of(example, edited=False), caption_of(example)]
        said_before, said_after = self.networks.texts(CLIP, captions)
        said = said_after - said_before
        if not said.any():
            raise Undefined("nothing changed between the two captions")
        return _cosine(after - before, said) if (after != before).any() else 0.0


class _Dino(WithReleased):
    ROLES = (DINO,)
    AGAINST: ClassVar[Any]

    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Read results and references at once."""
        self._read([*images, *all_defined(type(self).AGAINST, examples)])

    def value(self, example: Example, image: Picture) -> float:
        """Cosine of class features."""
        return _cosine(*self._read([image, type(self).AGAINST(example)]))

    def _read(self, pictures: Sequence[Picture]) -> list[NDArray[np.float32]]:
        readings = self.networks.read(pictures, DINO, "class-256-224", _class_features)
        return [reading["class"] for reading in readings]


class MagicBrushDino(_Dino):
    """DINO similarity to the truth."""

    AGAINST = truth_of
    INFO = _info("mb_dino", "dino.vits16.cls", "higher", "MagicBrush: DINO of result and truth")


class EmuDino(_Dino):
    """DINO similarity to the source."""

    AGAINST = source_of
    INFO = _info("emu_dino", "emu.dino.vits16.cls", "higher", "Emu Edit: DINO of result and source")


def resized(image: Picture, like: Picture) -> Picture:
    """The result at the reference's size, by PIL's bicubic."""
    from PIL import Image

    if image.shape == like.shape:
        return image
    height, width = like.shape[:2]
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def _class_features(network: Any, pictures: Sequence[Picture]) -> dict[str, Any]:
    from editar_bench.evaluators.dino import class_input

    device = next(network.parameters()).device
    return {"class": network.class_feature(class_input(pictures, device))}


def _cosine(a_D: NDArray[Any], b_D: NDArray[Any]) -> float:
    lengths = float(np.linalg.norm(a_D) * np.linalg.norm(b_D))
    if not lengths:
        raise Undefined("a picture has no features")
    return float(a_D @ b_D) / lengths
