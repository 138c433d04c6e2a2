"""The engine of several machines, or several processes of one: the same stages in actors of Ray Data.

Ray schedules, retries and holds back; here is only how a stage gets into a worker and how its answers come back.
Batches, stages and answers travel as bytes that this file packs, so that a worker can first go where the driver is.
"""

from __future__ import annotations

import logging
import os
import pickle
import platform
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editar_bench import parts, provenance
from editar_bench.engines import B, R
from editar_bench.errors import UserError, missing_package

RETRIES = 3  # times that Ray tries a batch again whose worker died
ITEM = "item"  # the one column of the data that Ray carries
# Where a driver finds data and weights, its workers must find them too.
CARRIED = ("EDITAR_BENCH_DATA", "EDITAR_BENCH_WEIGHTS", "HF_HOME", "HF_HUB_OFFLINE")


class RayEngine:
    """Calls a stage on every batch, in as many workers as there are GPUs, or as its threads leave room for.

    Args:
        out: the results folder.
        device: what the stages work on; with CUDA each worker has a GPU of its own.
        shared: every worker must see the results folder.
    """

    def __init__(self, out: Path, device: str, *, shared: bool = True) -> None:
        self.out = out
        self.device = device
        self.shared = shared

    def map(self, stage: Callable[[], Callable[[B], R]], batches: Iterable[B]) -> Iterator[R]:
        """Yield the stage's answer to each batch as soon as it is there.

        Args:
            stage: builds it, in each worker.
            batches: what it is called with.

        Raises:
            UserError: Ray cannot be reached, has no room for a worker, or lost a worker too often.
        """
        todo = [pickle.dumps(batch) for batch in batches]
        if not todo:
            return
        connect()
        import ray
        from ray import cloudpickle

        try:
            packed = cloudpickle.dumps(stage)
        except Exception as error:
            raise UserError(
                f"this cannot be sent to Ray's workers ({error}); use --engine local for it."
            ) from error
        share, count = self._share()
        place = Place.of_driver(self.out if self.shared else None, share.get("num_cpus"))
        data = ray.data.from_items(todo, override_num_blocks=len(todo))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pyproject.toml says until when
            data = data.map_batches(
                Worker,
                fn_constructor_args=(place, packed),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(count, len(todo))),
                max_task_retries=RETRIES,
                **share,
            )
        tables = data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        try:
            for table in tables:
                for answer in table.column(ITEM).to_pylist():
                    yield unpack(answer)
        except ray.exceptions.RayError as error:
            raise UserError(
                f"A Ray worker died too often ({str(error).strip().splitlines()[-1]}); what was done is kept, the same "
                "command goes on from there. Where memory ran out, give a smaller --batch-size."
            ) from error

    def _share(self) -> tuple[dict[str, int], int]:
        """What a worker takes of a machine, as arguments for Ray, and how many workers find room."""
        import ray

        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if self.device.startswith("cuda"):
            count = sum(int(machine.get("GPU", 0)) for machine in machines)
            if not count:
                raise UserError("No machine of the Ray cluster has a GPU; try --device cpu.")
            return {"num_gpus": 1}, count
        import torch

        cores = [int(machine.get("CPU", 0)) for machine in machines]
        threads = min(torch.get_num_threads(), max(cores))
        return {"num_cpus": threads}, sum(free // threads for free in cores)


def connect() -> None:
    """Join the cluster that `RAY_ADDRESS` or `ray start` names, or start Ray on this machine; keep it quiet.

    Raises:
        UserError: the cluster does not answer.
    """
    # Ray's C++ part would write over the bars, and so would news of workers that stop because a stage is done.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "Task MapWorker")
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        with _silence():
            try:
                # Left alone, Ray would count cores that this process may not use.
                ray.init(num_cpus=provenance.usable_cores(), include_dashboard=False, **quiet)
            except ValueError:  # there is a cluster, which knows its own cores
                ray.init(**quiet)
    except (ConnectionError, RuntimeError) as error:
        raise UserError(
            f"Ray cannot be reached ({str(error).splitlines()[0]}); start it again with `ray start`, mend RAY_ADDRESS, "
            "or run `ray stop` to work on this machine alone."
        ) from error


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what C++ code writes off the terminal: Ray's says that it has read its log level."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the driver is, so that a worker's paths and variables mean the same."""

    folder: Path  # that the command was started in
    witness: Path | None  # a file that only this run's results folder has, where that must be seen
    variables: dict[str, str]
    imports: tuple[str, ...]  # the folders that modules come from

    @classmethod
    def of_driver(cls, out: Path | None, threads: int | None) -> Place:
        """The place of this process.

        Args:
            out: the results folder of a run that has begun; None where workers need not see it.
            threads: of a worker; None leaves them to Ray.
        """
        variables = {name: os.environ[name] for name in CARRIED if name in os.environ}
        if threads is not None:
            variables["OMP_NUM_THREADS"] = str(threads)
        witness = parts.list_parts(out, "run")[-1].resolve() if out else None
        folder = Path.cwd()
        imports = tuple(str(folder / path) for path in sys.path)
        return cls(folder=folder, witness=witness, variables=variables, imports=imports)

    def enter(self) -> None:
        """Make it this process's place.

        Raises:
            UserError: a folder is not on this machine.
        """
        for path in (self.witness, self.folder):
            if path is not None and not path.exists():
                raise UserError(
                    f"A Ray worker on {platform.node()} does not see {path}; all machines of the cluster need the "
                    "folder of the results (or --parts) and the one that the command is started in, at the same path."
                )
        os.environ.update(self.variables)
        os.chdir(self.folder)
        sys.path += [path for path in self.imports if path not in sys.path]


class Worker:
    """A stage in a process of Ray's, built at the first batch so that a failure is an answer too."""

    def __init__(self, place: Place, packed: bytes) -> None:
        self.place = place
        self.packed = packed
        self.stage: Callable[[Any], Any] | None = None

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[bytes]]:
        """Answer each batch of a block."""
        return {ITEM: [self._answer(batch) for batch in rows[ITEM]]}

    def _answer(self, batch: bytes) -> bytes:
        try:
            if self.stage is None:
                self.stage = self._build()
            return pickle.dumps(self.stage(pickle.loads(batch)))
        except Exception as error:
            return pack_error(error)

    def _build(self) -> Callable[[Any], Any]:
        self.place.enter()
        provenance.check_rooms()
        try:
            stage: Callable[[], Callable[[Any], Any]] = pickle.loads(self.packed)
        except ModuleNotFoundError as error:
            raise UserError(missing_package(f"a Ray worker on {platform.node()}", error)) from error
        return stage()


def pack_error(error: Exception) -> bytes:
    """An exception with where it happened; one that cannot travel goes as text."""
    trace = "".join(traceback.format_exception(error))
    error.__cause__ = error.__context__ = None
    error.add_note(f"In a Ray worker on {platform.node()}:\n{trace}")
    with suppress(Exception):
        packed = pickle.dumps(error)
        pickle.loads(packed)
        return packed
    return pickle.dumps(RuntimeError(trace))


def unpack(answer: bytes) -> Any:
    """What a worker answered; raises what it answered with, if it is an exception."""
    found = pickle.loads(answer)
    if isinstance(found, Exception):
        raise found
    return found
