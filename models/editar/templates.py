"""The task strings the released EditAR was trained and evaluated with, verbatim."""

from __future__ import annotations

from editar_bench.types import Task

TEMPLATES = {
    Task.EDIT: "{}",
    Task.DEPTH: "Given the depth image, generate an image following the description: {}",
    Task.EDGE: "Given the canny edge image, generate an image following the description: {}",
    Task.SEGMENTATION: (
        "Given the segmentation mask, generate an image following the description: {}"
    ),
}


def prompt_for(task: Task, text: str) -> str:
    """What EditAR reads: the plain instruction, or a caption behind the string of its task."""
    return TEMPLATES[task].replace("{}", text)
