"""Which device a run uses, how much memory is free there, and how much a batch took at its peak."""

from __future__ import annotations

import gc
from pathlib import Path

from editar_bench.errors import UserError

_MEMORY = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def resolve_device(name: str) -> str:
    """`auto` becomes the first GPU or the CPU; a device that is not there is an error."""
    if name == "cpu":
        return name
    import torch

    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"Device '{name}' cannot be used ({str(error).splitlines()[0]}); try --device cpu."
        ) from error
    return name


def free_bytes(device: str) -> int | None:
    """Memory that a model could still take: of the GPU, or of the machine; None where nobody can tell."""
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + kept)  # what torch keeps for later serves this process too
    return _kibibytes(_MEMORY, "MemAvailable:")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that the device, or the machine, has no room left."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # cuBLAS, cuDNN and torch's CPU allocator say it in words only.
    words = ("out of memory", "_ALLOC_FAILED", "_ALLOCATION_FAILED", "DefaultCPUAllocator")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def release_memory(device: str) -> None:
    """Give back what is no longer used, so that a smaller try has all the room there is."""
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


def reset_peak(device: str) -> None:
    """Start a new measurement of the peak."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        _CLEAR.write_text("5")  # Linux: forget the peak of the resident set
    except OSError:
        return


def peak_bytes(device: str) -> int | None:
    """Peak since `reset_peak`: of the GPU, or of this process's resident memory; None where nobody can tell."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    return _kibibytes(_STATUS, "VmHWM:")


def _kibibytes(path: Path, name: str) -> int | None:
    """An entry of one of Linux's tables, in bytes."""
    try:
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
