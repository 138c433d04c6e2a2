"""A tiny task, models and metrics, so that the harness is tested without any real one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editar_bench.contracts import Context, MetricInfo
from editar_bench.errors import MissingWeights, UserError
from editar_bench.types import Capability, Example, Generation, How, Picture, Score, Task

SIZE = 8
COUNT = 10


def truth(index: int) -> Picture:
    return np.random.default_rng(index).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


class Split(Sequence[Example]):
    """Examples are made when indexed, as a real split decodes them."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: Any) -> Any:
        return Example(
            id=f"s{index:02d}",
            task=self.task,
            prompt=f"make number {index}",
            condition=255 - truth(index),
            target=truth(index),
            category=("even", "odd")[index % 2],
            slices=("seen",) if index < 8 else ("unseen",),
        )


class DummyTask:
    """`depth` on the data set `dummy`."""

    task = Task.DEPTH
    dataset = "dummy"
    metrics: Sequence[str] = ("dummy_error", "dummy_brightness")

    def load(self) -> Sequence[Example]:
        return Split(self.task)

    def fingerprint(self) -> str:
        return "data-1"


class DummyEdit(DummyTask):
    task = Task.EDIT


class Base:
    """What the dummy models share: they write down every call."""

    name = "base"
    kind = "measured"
    fingerprint: Mapping[str, str] = {}
    batch_size = 4

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    @cached_property
    def capabilities(self) -> Mapping[Task, Capability]:
        return {task: Capability(how=How.NATIVE) for task in Task}

    def setup(self, context: Context) -> None:
        self.examples = context.examples

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        pictures = [self.picture(e, s) for e, s in zip(batch, seeds, strict=True)]
        log = os.environ.get("DUMMY_LOG")
        if log:
            with Path(log).open("a") as file:
                file.write(f"{self.name} {' '.join(e.id for e in batch)}\n")
        return [Generation(image=picture, seconds=0.25) for picture in pictures]

    def picture(self, example: Example, seed: int) -> Picture:
        raise NotImplementedError


class Noisy(Base):
    """The truth with noise that follows from the seed."""

    name = "noisy"

    def __init__(self, *, strength: int = 10) -> None:
        super().__init__(strength=strength)

    def picture(self, example: Example, seed: int) -> Picture:
        assert example.target is not None
        noise = np.random.default_rng(seed).integers(
            0, self.settings["strength"] + 1, (SIZE, SIZE, 3)
        )
        return np.clip(example.target + noise, 0, 255).astype(np.uint8)


class Slow(Noisy):
    """Takes its time, so that it can be killed."""

    name = "slow"
    batch_size = 2

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        time.sleep(float(os.environ.get("DUMMY_SECONDS", "0")))
        return super().generate(batch, seeds)


class Codec(Noisy):
    name = "codec"
    kind = "reference"

    def __init__(self) -> None:
        super().__init__(strength=2)


class Shuffled(Base):
    name = "shuffled"
    kind = "reference"

    def picture(self, example: Example, seed: int) -> Picture:
        return truth((int(example.id[1:]) + 1) % COUNT)


class OnlyEdit(Noisy):
    name = "only-edit"

    @cached_property
    def capabilities(self) -> Mapping[Task, Capability]:
        return {
            Task.EDIT: Capability(how=How.NATIVE),
            Task.DEPTH: Capability(how=How.NO, reason="it was never shown a depth map"),
        }


class Fragile(Noisy):
    """Breaks on two samples."""

    name = "fragile"

    def picture(self, example: Example, seed: int) -> Picture:
        if example.id in ("s01", "s06"):
            raise RuntimeError(f"cannot draw {example.id}")
        return super().picture(example, seed)


class Together(Fragile):
    """Waits until two processes work on it, so that both make pictures; then one of them dies, once."""

    name = "together"

    def __init__(self, *, folder: str, strength: int = 10) -> None:
        super().__init__(strength=strength)
        self.settings["folder"] = folder

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        folder, deadline = Path(self.settings["folder"]), time.monotonic() + 60
        (folder / str(os.getpid())).touch()
        while len(list(folder.iterdir())) < 2:
            assert time.monotonic() < deadline, "nobody came"
            time.sleep(0.02)
        with suppress(FileExistsError):
            folder.with_suffix(".died").touch(exist_ok=False)
            os._exit(1)
        return super().generate(batch, seeds)


class Unloadable(Noisy):
    name = "unloadable"

    def setup(self, context: Context) -> None:
        raise RuntimeError("the weights do not fit")


class Unready(Noisy):
    """A plugin whose constructor fails in its own way."""

    name = "unready"

    def __init__(self) -> None:
        raise RuntimeError("no\nlicence file")


class Float(Noisy):
    """Returns pictures that are none."""

    name = "float"

    def picture(self, example: Example, seed: int) -> Picture:
        return super().picture(example, seed).astype(np.float32)  # type: ignore[return-value]


class Second(Noisy):
    """Cannot make a second picture of a sample."""

    name = "second"

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[str, int] = {}

    def picture(self, example: Example, seed: int) -> Picture:
        if self.first.setdefault(example.id, seed) != seed:
            raise RuntimeError("once is enough")
        return super().picture(example, seed)


def corrupt(**settings: Any) -> Base:
    raise UserError("weights/corrupt.safetensors has the wrong checksum; fetch it again.")


def absent(**settings: Any) -> Base:
    raise MissingWeights("weights/absent.safetensors is not there; train it first.")


class FullDisk(Noisy):
    """Stands for a machine whose disk fills up while the model writes a cache."""

    name = "full-disk"

    def picture(self, example: Example, seed: int) -> Picture:
        if example.id == "s05":
            raise OSError(28, "No space left on device", "/cache/file")
        return super().picture(example, seed)


class DummyError:
    """Mean absolute difference to the target; undefined for sample s03."""

    info = MetricInfo(
        name="dummy_error",
        protocol="dummy-v1",
        unit="levels",
        direction="lower",
        version=1,
        tasks=frozenset({Task.DEPTH, Task.EDIT}),
        gap="shuffled",
    )

    def setup(self, device: str) -> None:
        assert device

    def score(self, examples: Sequence[Example], images: Sequence[Picture]) -> list[Score]:
        return [self._one(e, i) for e, i in zip(examples, images, strict=True)]

    def _one(self, example: Example, image: Picture) -> Score:
        undefined = example.id == "s03"
        assert example.target is not None
        value = float(np.abs(image.astype(int) - example.target).mean())
        return Score(
            metric=self.info.name,
            protocol=self.info.protocol,
            value=None if undefined else value,
            reason="no outside" if undefined else "",
        )


class DummyBrightness:
    """The mean level of the set."""

    info = MetricInfo(
        name="dummy_brightness",
        protocol="dummy-v1",
        unit="levels",
        direction="higher",
        version=1,
        tasks=frozenset({Task.DEPTH, Task.EDIT}),
        set_level=True,
    )

    def setup(self, device: str) -> None:
        assert device

    def observe(self, examples: Sequence[Example], images: Sequence[Picture]) -> list[NDArray[Any]]:
        return [np.array([image.mean()]) for image in images]

    def reduce(self, observations: NDArray[Any]) -> float | None:
        return float(observations.mean())


class BrokenMetric(DummyError):
    info = MetricInfo(
        name="broken",
        protocol="dummy-v1",
        unit="",
        direction="lower",
        version=1,
        tasks=frozenset({Task.DEPTH}),
    )

    def setup(self, device: str) -> None:
        raise UserError("evaluators/judge.safetensors is missing.")


class Unscoring(DummyError):
    """Can be set up, and breaks when it is used."""

    info = MetricInfo(
        name="unscoring",
        protocol="dummy-v1",
        unit="",
        direction="lower",
        version=1,
        tasks=frozenset({Task.DEPTH}),
    )

    def _one(self, example: Example, image: Picture) -> Score:
        raise NotImplementedError("no such operator")


class Mortal:
    """A stage whose process dies at every batch."""

    def __call__(self, batch: int) -> int:
        os._exit(1)


def without_torch() -> None:
    """Nothing here has a use for it, and a process takes seconds to import it."""
    sys.modules["torch"] = None  # type: ignore[assignment]


MODELS = {
    "noisy": Noisy,
    "slow": Slow,
    "only-edit": OnlyEdit,
    "fragile": Fragile,
    "together": Together,
    "unloadable": Unloadable,
    "unready": Unready,
    "float": Float,
    "second": Second,
    "corrupt": corrupt,
    "absent": absent,
    "full-disk": FullDisk,
    "dummy-codec": Codec,
    "dummy-shuffled": Shuffled,
}
TASKS = {"depth/dummy": DummyTask, "edit/dummy": DummyEdit}
METRICS = {
    "dummy_error": DummyError,
    "dummy_brightness": DummyBrightness,
    "broken": BrokenMetric,
    "unscoring": Unscoring,
}


def reported() -> list[dict[str, str]]:
    """Published numbers: one of the dummy data set, one of another."""
    row = {
        "suite": "dummy",
        "task": "depth",
        "dataset": "dummy",
        "model": "A paper's",
        "metric": "dummy_error",
        "protocol": "dummy.error",
        "value": "1.5",
        "higher_is_better": "false",
        "n": "700",
        "source": "its table 1",
        "mark": "verified",
    }
    return [row, row | {"dataset": "another"}]
