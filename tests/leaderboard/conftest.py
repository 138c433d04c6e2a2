"""A small store with two models, two reference rows, an unsupported pair and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from editar_bench.contracts import MetricInfo
from editar_bench.seeds import seed_of
from editar_bench.store import Aggregate, RunRecord, Store, now, output_id, write_part
from editar_bench.types import Task

MSE = MetricInfo(
    name="edit_mse",
    protocol="inside-v1",
    unit="",
    direction="lower",
    version=1,
    tasks=frozenset({Task.EDIT}),
    gap="copy-source",
    description="squared error inside the mask",
)
CLIP = MetricInfo(
    name="clip_score",
    protocol="scenes-clip-v1",
    unit="",
    direction="higher",
    version=1,
    tasks=frozenset(Task),
)
SECONDS = MetricInfo(
    name="seconds_per_image",
    protocol="wall",
    unit="s",
    direction="lower",
    version=1,
    tasks=frozenset(Task),
)
SEED = 11
MODELS = {"editar": "measured", "pix2pix": "measured", "codec": "reference", "blank": "reference"}
VALUES = {"editar": 0.2, "pix2pix": 0.4, "codec": 0.1, "blank": 0.9}
TRAINING = {
    "parameters": 1_960_000,
    "samples": 8_000,
    "flops": 5e13,
    "minutes": 12.5,
    "hardware": "a CPU, 2 threads",
    "seeds": 1,
}
REASON = "was never trained for <depth>"


def make_aggregate(
    run_id: str, model: str, info: MetricInfo, task: str, value: float | None
) -> Aggregate:
    return Aggregate(
        run_id=run_id,
        suite="scenes",
        task=task,
        dataset="scenes",
        model=model,
        metric=info.name,
        protocol=info.protocol,
        version=1,
        model_key=f"key-{model}",
        kind=MODELS[model],  # type: ignore[arg-type]
        higher_is_better=info.direction == "higher",
        n_expected=250,
        n=0 if value is None else 24,
        value=value,
        ci_low=None if value is None else value - 0.05,
        ci_high=None if value is None else value + 0.05,
        status="unsupported" if value is None else "ok",
        reason=REASON if value is None else "",
        gap_closed=0.875 if (model, info) == ("editar", MSE) else None,
    )


def _aggregates(run_id: str) -> list[Aggregate]:
    from dataclasses import replace

    rows = []
    for model, value in VALUES.items():
        mse = make_aggregate(run_id, model, MSE, "edit", value)
        rows += [mse, make_aggregate(run_id, model, CLIP, "edit", value)]
        rows.append(make_aggregate(run_id, model, SECONDS, "edit", value))
        rows += [
            replace(mse, slice=name, value=value + shift, n=12, n_expected=12)
            for name, shift in (("seen", 0.0), ("unseen", 0.02), ("add", 0.01))
        ]
        depth = None if model == "pix2pix" else value
        rows.append(make_aggregate(run_id, model, CLIP, "depth", depth))
    return rows


def _samples(out: Path, run_id: str) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    (out / "pictures").mkdir()
    for number in range(3):
        name = f"edit-{number}"
        for kind in ("condition", "target", *MODELS):
            pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(out / "pictures" / f"{name}-{kind}.png")
        base = {"task": "edit", "dataset": "scenes", "dataset_fingerprint": "f", "sample_id": name}
        sample = base | {
            "suite": "scenes",
            "position": number,
            "prompt": f"make object {number} red",
            "source_caption": "a cube",
            "category": ("add", "delete", "add")[number],
            "slices": ["seen" if number < 2 else "unseen"],
            "condition_path": f"pictures/{name}-condition.png",
            "target_path": f"pictures/{name}-target.png",
        }
        write_part(out, "sample", [sample])
        for place, (model, kind) in enumerate(MODELS.items()):
            failed = model == "pix2pix" and number == 1
            seed = seed_of(SEED, "edit", "scenes", name, 0)
            key = output_id(f"key-{model}", "edit", "scenes", "f", name, 0, seed, "h")
            output = base | {
                "output_id": key,
                "run_id": run_id,
                "suite": "scenes",
                "model": model,
                "model_key": f"key-{model}",
                "kind": kind,
                "repeat": 0,
                "seed": seed,
                "status": "failed" if failed else "ok",
                "reason": "out of memory" if failed else "",
                "path": None if failed else f"pictures/{name}-{model}.png",
                "created_at": now(),
            }
            write_part(out, "output", [output])
            score = {"output_id": key, "metric": MSE.name, "protocol": MSE.protocol, "version": 1}
            if not failed:
                write_part(out, "score", [score | {"value": (number - 1) ** 2 + place}])


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results")
    provenance = {
        "code": {"version": "0.1.0", "commit": "abc123"},
        "packages": {"torch": "2.15.0"},
        "data": {"edit/scenes": "f"},
        "data_remarks": {"edit": ["1 of 250 pictures differs."]},
        "models": {
            "editar": {
                "weights": {"editar.safetensors": "d0d0"},
                "settings": {},
                "training": TRAINING,
            },
            "pix2pix": {"training": TRAINING | {"flops": 5 * TRAINING["flops"]}},
        },
    }
    with Store.open(out) as store:
        run_id = store.begin_run(
            RunRecord(
                suite="scenes",
                dataset="scenes",
                spec={"seed": SEED, "tasks": ["edit", "depth"], "limit": 24},
                provenance=provenance,
            )
        )
        store.write_metrics([MSE, CLIP, SECONDS])
        _samples(out, run_id)
        store.write_aggregates(_aggregates(run_id))
        store.finish_run(run_id)
    return out
