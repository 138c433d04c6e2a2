"""Agreement of a picture with its caption, by the suite's own CLIP: 100 × cosine.

Unlike torchmetrics' CLIPScore negative cosines are kept: a mean of clamped values would flatter.
"""

from __future__ import annotations

from collections.abc import Sequence

from editar_bench.contracts import MetricInfo
from editar_bench.metrics._base import EDIT, EVERY_TASK, PerSample, Undefined, blacken, inside
from editar_bench.types import Example, Picture


class _Clip(PerSample):
    NEEDS = ("clip",)

    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Read pictures and captions."""
        pairs = zip(examples, images, strict=True)
        self.judges.image_embeddings([self.seen(e, i) for e, i in pairs if _is_defined(e)])
        self.judges.text_embeddings([e.target_caption for e in examples if e.target_caption])

    def seen(self, example: Example, image: Picture) -> Picture:
        """What CLIP is shown."""
        return image

    def value(self, example: Example, image: Picture) -> float:
        """100 × cosine of picture and target caption."""
        if not example.target_caption:
            raise Undefined("the data has no caption of the result for this sample")
        shown = self.seen(example, image)
        image_D = self.judges.image_embeddings([shown])[0]
        text_D = self.judges.text_embeddings([example.target_caption])[0]
        return 100 * float(image_D @ text_D)


class ClipScore(_Clip):
    """The whole picture."""

    INFO = MetricInfo(
        name="clip_score",
        protocol="scenes.clip.whole.v1",
        unit="100 × cosine",
        direction="higher",
        version=1,
        tasks=EVERY_TASK,
        description="the whole picture and the (target) caption, by the suite's CLIP",
    )


class ClipEdited(_Clip):
    """The picture times the mask, black outside, and the full target caption, as PIE-Bench."""

    INFO = MetricInfo(
        name="clip_edited",
        protocol="scenes.clip.edited.v1",
        unit="100 × cosine",
        direction="higher",
        version=1,
        tasks=EDIT,
        description="the picture times the edit mask and the target caption, by the suite's CLIP",
    )

    def seen(self, example: Example, image: Picture) -> Picture:
        """The edited part."""
        return blacken(image, inside(example))


def _is_defined(example: Example) -> bool:
    return example.edit_mask is None or bool(example.edit_mask.any())
