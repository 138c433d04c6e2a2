"""What is checked of the tensors that a caller hands over, before anything is computed.

B batch, N codes a picture, T text slots, C width of the text encoder's features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editar_bench.errors import UserError


def check_codes(codes: Tensor, who: str, size: int, shape: tuple[int, int] | None = None) -> None:
    """Refuse what are no codes of pictures.

    Args:
        codes: int64 (B, N).
        who: reads them, for the message.
        size: of the codebook.
        shape: that they must have, where it is known.

    Raises:
        UserError: they are of another type or shape, or, as far as that can be seen without waiting for a GPU, some
            are outside the codebook.
    """
    wanted = "(B, N)" if shape is None else str(shape)
    fits = codes.ndim == 2 if shape is None else tuple(codes.shape) == shape
    if codes.dtype not in (torch.int64, torch.int32) or not fits:
        raise UserError(
            f"{who}: codes are {codes.dtype} of shape {tuple(codes.shape)}; they must be int64 of shape {wanted}"
        )
    if codes.device.type == "cpu" and codes.numel():
        low, high = (int(end) for end in torch.aminmax(codes))
        if low < 0 or high >= size:
            raise UserError(
                f"{who}: codes reach from {low} to {high}; they must be from 0 to {size - 1}"
            )


def check_text(text: Tensor, slots: int, width: int) -> Tensor:
    """Text features for every slot: float (B, T, C); those of further slots are cut off, as published.

    Raises:
        UserError: there are fewer, or they are of another width or type.
    """
    fits = text.ndim == 3 and text.shape[1] >= slots and text.shape[2] == width
    if not (text.is_floating_point() and fits):
        raise UserError(
            f"transformer: text is {text.dtype} of shape {tuple(text.shape)}; it must be encoder features, float of "
            f"shape (B, {slots}, {width}), padded to all {slots} slots"
        )
    return text[:, :slots]


def check_images(images: Tensor) -> Tensor:
    """Pictures, float (B, 3, H, W).

    Raises:
        UserError: they are of another type or shape.
    """
    if not images.is_floating_point() or images.ndim != 4 or images.shape[1] != 3:
        raise UserError(
            f"codec: images are {images.dtype} of shape {tuple(images.shape)}; they must be float of shape "
            "(B, 3, H, W) in [-1, 1]"
        )
    return images
