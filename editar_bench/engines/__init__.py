"""Engines carry batches through the stages; they know nothing about models."""

from __future__ import annotations

from editar_bench.errors import UserError

ENGINES = ("local",)


def check_engine(name: str) -> None:
    """Refuse an engine that does not exist."""
    if name not in ENGINES:
        raise UserError(f"There is no engine '{name}'; known are: {', '.join(ENGINES)}.")
