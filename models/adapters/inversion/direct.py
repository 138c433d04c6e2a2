"""Direct inversion, the PnP Inversion of Ju et al. 2024 (arXiv 2310.01506), algorithm 1: three lines for any editor.

After every step the source row is put back onto the path of the inversion, so that it is the source at every noise
level. The paper adds the difference to the path to the source row, and nothing to the others; that is the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.adapters.inversion.sampler import Control


class DirectInversion:
    """An editor's control, with row 0 kept on a path.

    Args:
        control: the editor's.
        path: as `Sampler.invert` gives it.
    """

    def __init__(self, control: Control, path: Sequence[Tensor]) -> None:
        self.control = control
        self.path = path

    def before(self, step: int) -> None:
        """As the editor does."""
        self.control.before(step)

    def after(self, step: int, latents_RChw: Tensor) -> Tensor:
        """As the editor does, from the source that lies on the path."""
        on_path = torch.cat([self.path[-2 - step], latents_RChw[1:]])
        return self.control.after(step, on_path)
