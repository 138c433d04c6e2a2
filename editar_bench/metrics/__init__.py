"""Metrics, a file a family; `editar_bench.builtin` says which name is which class."""
