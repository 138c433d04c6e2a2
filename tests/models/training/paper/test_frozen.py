"""The frozen networks see what they would see outside of training's autocast."""

from __future__ import annotations

import json

import numpy as np
import torch

from models.editar.pictures import to_tensor
from models.training.paper.frozen import Frozen, Places
from models.training.paper.samples import Sample
from tests.models.making import SLOTS, TEXTS, noise
from tests.models.training.paper.making import CROP, write_networks


def test_autocast_changes_nothing(tmp_path):
    """Rounding flips codes."""
    write_networks(tmp_path)
    places = Places(
        codec=tmp_path / "codec" / "codec.safetensors",
        codec_config=json.loads((tmp_path / "config.json").read_text())["vq"],
        text=tmp_path / "text",
        teacher=tmp_path / "teacher",
    )
    frozen = Frozen(places, SLOTS, torch.device("cpu"), torch.float32)
    samples = [
        Sample(
            prompt=TEXTS[i % len(TEXTS)],
            crop=np.full((CROP, CROP, 3), 3 * i, np.uint8),
            pictures=np.stack([noise(i), noise(100 + i)]),
        )
        for i in range(40)
    ]
    exact = [frozen.codes(samples), frozen.features(samples), frozen.patches(samples)]
    assert exact[0].shape[:2] == (2, 40)
    assert torch.equal(
        exact[0][1], frozen.codec.encode(to_tensor([s.pictures[1] for s in samples]))
    )
    with torch.autocast("cpu", torch.bfloat16):
        again = [frozen.codes(samples), frozen.features(samples), frozen.patches(samples)]
        pictures = to_tensor([s.pictures[0] for s in samples])
        assert not torch.equal(
            frozen.codec.encode(pictures), exact[0][0]
        )  # or else nothing is shown
    assert all(map(torch.equal, exact, again))
