"""Pictures a batch when nobody says how many: what the model prefers, or what the device's memory allows.

A batch size is chosen once a run and model, before the first batch, because batches are fixed index ranges of the
sample list. A batch that does not fit after all is halved by the stage (`stages.generate`); every row of the store
says the size that its picture was made with.
"""

from __future__ import annotations

from editar_bench.contracts import Footprint, Model
from editar_bench.devices import free_bytes

SHARE = 0.9  # of the free memory: the rest is for what no estimate knows, such as a library's own buffers


class BatchSizes:
    """The batch sizes of one run, by model."""

    def __init__(self, device: str, asked: int | None) -> None:
        self.device = device
        self.asked = asked
        self._chosen: dict[str, int] = {}

    def of(self, label: str, model: Model) -> int:
        """The size asked for; otherwise the model's own, fitted to the memory if the model knows its needs."""
        if self.asked is not None:
            return self.asked
        if label not in self._chosen:
            self._chosen[label] = self._choose(model)
        return self._chosen[label]

    def _choose(self, model: Model) -> int:
        footprint = getattr(model, "footprint", None)
        free = free_bytes(self.device)
        if footprint is None or free is None:
            return model.batch_size
        return fitting(footprint(self.device), free)


def fitting(need: Footprint, free: int) -> int:
    """The largest worthwhile batch; below that a power of two, so that a little less memory changes nothing."""
    room = int(free * SHARE) - need.loaded
    fits = max(1, room // need.picture)
    if fits >= need.largest:
        return need.largest
    return 1 << (fits.bit_length() - 1)
