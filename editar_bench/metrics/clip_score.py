"""torchmetrics' CLIPScore with OpenAI's networks: 100 × cosine (clip.L14.…, clip.B16).

PIE-Bench reads ViT-L/14 and asks for one picture at a time, so that no value is below 0; ControlNet++ reads ViT-B/16
and asks for the mean of all, in which values below 0 count. Both take the caption as it stands, cut at 77 tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from editar_bench.contracts import MetricInfo
from editar_bench.metrics._base import EDIT, EVERY_TASK, Undefined, blacken, inside
from editar_bench.metrics._pie import fitted
from editar_bench.metrics._released import WithReleased
from editar_bench.types import Example, Picture


def _info(
    name: str, protocol: str, backbone: str, seen: str, *, edit: bool, version: int = 1
) -> MetricInfo:
    return MetricInfo(
        name=name,
        protocol=protocol,
        unit="100 × cosine",
        direction="higher",
        version=version,
        tasks=EDIT if edit else EVERY_TASK,
        description=f"torchmetrics' CLIPScore, CLIP {backbone}: {seen}",
    )


class _ClipScore(WithReleased):
    ROLES: ClassVar[tuple[str]]

    def seen(self, example: Example, image: Picture) -> Picture:
        """The picture that CLIP is shown."""
        return image

    def caption(self, example: Example) -> str | None:
        """The caption that it is shown."""
        return example.target_caption

    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Embed a whole batch at once."""
        pictures, texts = [], []
        for example, image in zip(examples, images, strict=True):
            try:
                pictures.append(self.seen(example, image))
                texts.append(self._text(example))
            except Undefined:
                continue
        self.networks.pictures(self.ROLES[0], pictures)
        self.networks.texts(self.ROLES[0], texts)

    def value(self, example: Example, image: Picture) -> float:
        """100 × cosine, at least 0: torchmetrics' answer for one picture."""
        return max(self._cosine(example, image), 0.0)

    def _cosine(self, example: Example, image: Picture) -> float:
        (picture_D,) = self.networks.pictures(self.ROLES[0], [self.seen(example, image)])
        (text_D,) = self.networks.texts(self.ROLES[0], [self._text(example)])
        return 100 * float(picture_D @ text_D)

    def _text(self, example: Example) -> str:
        text = self.caption(example)
        if text is None:
            raise Undefined("the data has no caption for this sample")
        return text


class PieClipWhole(_ClipScore):
    """The result against the target caption."""

    ROLES = ("clip-L14",)
    INFO = _info(
        "pie_clip_whole",
        "clip.L14.whole",
        "ViT-L/14",
        "the result and the target caption",
        edit=True,
    )

    def seen(self, example: Example, image: Picture) -> Picture:
        """The whole result."""
        return fitted(example, image)


class PieClipEdited(PieClipWhole):
    """The result times the mask against the full target caption."""

    INFO = _info(
        "pie_clip_edited",
        "clip.L14.edited",
        "ViT-L/14",
        "the result times the mask and the full target caption",
        edit=True,
    )

    def seen(self, example: Example, image: Picture) -> Picture:
        """Black outside the mask, not cropped."""
        return blacken(fitted(example, image), inside(example))


class PieClipSource(_ClipScore):
    """The source against its caption: the same for every model."""

    ROLES = ("clip-L14",)
    INFO = _info(
        "pie_clip_source",
        "clip.L14.source",
        "ViT-L/14",
        "the source and its caption, whatever the result",
        edit=True,
    )

    def seen(self, example: Example, image: Picture) -> Picture:
        """The source."""
        return example.condition

    def caption(self, example: Example) -> str | None:
        """Its caption."""
        return example.source_caption


class ClipB16(_ClipScore):
    """The picture against the (target) caption."""

    ROLES = ("clip-B16",)
    INFO = _info(
        "clip_b16",
        "clip.B16",
        "ViT-B/16",
        "the picture and the (target) caption",
        edit=False,
        version=3,
    )

    def value(self, example: Example, image: Picture) -> float:
        """100 × cosine, negative ones too: ControlNet++ divides torchmetrics' sum by its count."""
        return self._cosine(example, image)
