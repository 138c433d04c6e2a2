"""Which device a run uses, and how much memory a batch took at its peak."""

from __future__ import annotations

from pathlib import Path

from editar_bench.errors import UserError

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
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
