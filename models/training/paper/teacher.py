"""The teacher of the published distillation: DINOv2-base, looking at what its own image processor shows it.

The processor sees the target as float in [0, 1], turns it to 8 bits by cutting off decimals, scales the short edge to
256 (bicubic) and cuts out the middle 224 × 224: the outer eighth of the picture is never seen, although the student's
grid covers it. All that is copied here (transformers 4.44's `BitImageProcessor`; later ones resize otherwise).
Legend: B pictures, P patches, C width.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from editar_bench.errors import UserError
from editar_bench.types import Picture
from models.editar.text import no_progress_bar
from models.training.paper.published import TEACHER

FILES = ("*.json", "*.safetensors")


def _levels() -> np.ndarray:
    """What becomes of each of the 256 levels on its way to [-1, 1], to [0, 1] and back to 8 bits."""
    signed = (np.arange(256) / 255 * 2 - 1).astype(np.float32)
    return (((signed + 1) / 2) * np.float32(255)).astype(np.uint8)


_LEVELS = _levels()


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """How pictures become the teacher's input; the defaults are the published processor's."""

    edge: int = 256  # the short edge is scaled to it
    size: int = 224  # of the square cut out of the middle
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    @classmethod
    def from_folder(cls, folder: Path) -> Crop:
        """Read `preprocessor_config.json`.

        Raises:
            UserError: it is missing or is no configuration of this kind.
        """
        path = folder / "preprocessor_config.json"
        try:
            values = json.loads(path.read_text())
            return cls(
                edge=int(values["size"]["shortest_edge"]),
                size=int(values["crop_size"]["height"]),
                mean=tuple(map(float, values["image_mean"])),
                std=tuple(map(float, values["image_std"])),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"train: {path} is no configuration of a DINOv2 image processor ({error!r}); "
                f"fetch {TEACHER} again"
            ) from error

    def __call__(self, picture: Picture) -> Picture:
        """What the teacher sees of a square picture, uint8 (size, size, 3), before it is normalized."""
        # The processor takes floats that are all 0 or 1 for levels of 8 bits, and does not scale them.
        scale = 255 if ((picture == 0) | (picture == 255)).all() else 1
        image = Image.fromarray(picture // 255 if scale > 1 else _LEVELS[picture])
        scaled = np.asarray(image.resize((self.edge, self.edge), Image.Resampling.BICUBIC))
        start = (self.edge - self.size) // 2
        return scaled[start : start + self.size, start : start + self.size] * scale

    def normalized(self, crops_BHW3: Tensor) -> Tensor:
        """The teacher's input, float32 (B, 3, size, size), of crops uint8 (B, size, size, 3)."""
        mean, std = (crops_BHW3.new_tensor(v, dtype=torch.float32) for v in (self.mean, self.std))
        return ((crops_BHW3.float() / 255 - mean) / std).permute(0, 3, 1, 2)


class Teacher(nn.Module):
    """Crops to patch features."""

    def __init__(self, model: nn.Module, crop: Crop) -> None:
        super().__init__()
        self.model, self.crop = model, crop

    @property
    def width(self) -> int:
        """C."""
        return int(self.model.config.hidden_size)

    @property
    def patches(self) -> int:
        """P."""
        return int(self.crop.size // self.model.config.patch_size) ** 2

    @torch.no_grad()
    def forward(self, crops_BHW3: Tensor) -> Tensor:
        """Features after the final norm, without the class token: (B, P, C), row-major."""
        pixels = self.crop.normalized(crops_BHW3).to(next(self.model.parameters()).dtype)
        features: Tensor = self.model(pixel_values=pixels).last_hidden_state[:, 1:]
        return features


def find(source: str) -> Path:
    """The folder of a teacher: a local one, or a hub repository, which is downloaded unless it is here.

    Raises:
        UserError: it is neither.
    """
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=list(FILES)))
    except Exception as error:  # neither cached nor reachable
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UserError(
            f"train: the teacher '{source}' is no local folder and cannot be downloaded ({reason}); name a "
            "local copy with --teacher"
        ) from error


def load_teacher(folder: Path, dtype: torch.dtype) -> Teacher:
    """A DINOv2 without registers from a folder in the published format, frozen, on the CPU.

    Raises:
        UserError: the folder is no such thing.
    """
    import transformers
    from transformers import Dinov2Model

    wanted: dict[str, Any] = {
        "dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype": dtype
    }
    crop = Crop.from_folder(folder)
    try:
        with no_progress_bar():
            model = Dinov2Model.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, **wanted
            )
    except Exception as error:  # every library underneath raises its own kind
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UserError(
            f"train: the teacher in {folder} cannot be read ({reason}); fetch {TEACHER} again"
        ) from error
    teacher = Teacher(model.requires_grad_(False), crop)
    teacher.eval()
    return teacher
