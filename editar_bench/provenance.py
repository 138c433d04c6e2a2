"""What would be needed to repeat a run: code, packages, hardware."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from editar_bench.errors import UserError

ROOMS = ("models", "tasks", "data_prep", "leaderboard")
HOME = Path(__file__).resolve().parent.parent
PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "diffusers",
    "datasets",
    "open-clip-torch",
    "clean-fid",
    "scikit-image",
    "kornia",
    "torchmetrics",
    "numpy",
    "scipy",
    "pillow",
    "duckdb",
    "pyarrow",
)


def check_rooms(home: Path = HOME) -> None:
    """Refuse to work with foreign packages that happen to be called `models` or `tasks`.

    Raises:
        UserError: names the file that was found in place of a room of this distribution.
    """
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        if spec is None:
            raise UserError(
                f"The package '{room}' of editar-bench is not importable; install editar-bench again "
                "with `pip install -e .` or from its wheel."
            )
        places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
        folders = {Path(place).resolve() for place in places}
        expected = home / room
        if not folders & {expected, expected / "__init__.py"}:
            found = ", ".join(sorted(map(str, folders)))
            raise UserError(
                f"'{room}' is imported from {found} and not from {expected}; remove the other folder "
                "from PYTHONPATH or start from another directory."
            )


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ("git", "-C", str(HOME), *arguments),
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def package_version() -> str:
    """The installed version of editar-bench, or "uninstalled" in a bare checkout."""
    try:
        return metadata.version("editar-bench")
    except metadata.PackageNotFoundError:
        return "uninstalled"


def code_version() -> dict[str, Any]:
    """Package version, and in a checkout of this repository its commit and whether files differ from it."""
    record: dict[str, Any] = {"version": package_version()}
    if (HOME / ".git").exists() and (commit := _git("rev-parse", "HEAD")):
        record["commit"] = commit
        record["dirty"] = bool(_git("status", "--porcelain", "--untracked-files=no"))
    return record


def package_versions() -> dict[str, str]:
    """Versions of the libraries that numbers depend on; missing ones are left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def hardware(device: str) -> dict[str, Any]:
    """CPU, cores, platform, and the GPU when the run uses one."""
    record: dict[str, Any] = {
        "device": device,
        "cpu": _cpu_name(),
        "cores": usable_cores(),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }
    if device.startswith("cuda"):
        import torch

        record["gpu"] = torch.cuda.get_device_name(device)
        record["cuda"] = torch.version.cuda
    return record


def machine(device: str) -> str:
    """What the cost of a picture depends on, in words: the GPU, or the processor with its cores and threads."""
    record = hardware(device)
    if "gpu" in record:
        return str(record["gpu"])
    threads = precision().get("threads", record["cores"])
    return f"{record['cpu']}, {record['cores']} cores, {threads} threads"


def precision() -> dict[str, Any]:
    """Numerical switches of torch."""
    try:
        import torch
    except ImportError:
        return {}
    return {
        "default_dtype": str(torch.get_default_dtype()),
        "float32_matmul": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
    }


def describe(device: str, **more: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """The provenance record of a run; `more` adds data fingerprints, models and settings."""
    return {
        "code": code_version(),
        "packages": package_versions(),
        "hardware": hardware(device),
        "precision": precision(),
        **more,
    }
