"""Names: lookup, collisions, near matches, settings in model names."""

from __future__ import annotations

from pathlib import Path

import pytest

from editar_bench.builtin import METRICS as METRIC_TABLE
from editar_bench.errors import UserError
from editar_bench.model_names import ModelRef, create_model, parse_models
from editar_bench.registry import METRICS, MODELS, Entry, Registry
from tests.editar_bench import dummies as d


def test_targets_are_imported_when_asked() -> None:
    registry: Registry[object] = Registry("thing", "no.such.group", {"join": Entry("os.path:join")})
    import os

    assert registry.names() == ["join"]
    assert registry.get("join") is os.path.join


def test_a_collision_names_both_places() -> None:
    registry: Registry[object] = Registry("thing", "no.such.group", {"join": Entry("os.path:join")})
    registry.register("join", "os.path:join")  # the same again is no collision
    with pytest.raises(UserError, match=r"named 'join': os\.path:join .* and shlex:join"):
        registry.register("join", "shlex:join")


def test_a_plugin_cannot_take_a_builtin_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "thief-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: thief\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[editar_bench.models]\noracle = thief:Oracle\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry: Registry[object] = Registry(
        "model", "editar_bench.models", {"oracle": Entry("models.adapters.reference:Oracle")}
    )
    with pytest.raises(UserError, match=r"thief:Oracle \(thief\)"):
        registry.names()


@pytest.mark.parametrize(
    ("target", "words"),
    [("nowhere.to.be:found", "module 'nowhere'"), ("os.path:jion", "cannot be loaded")],
)
def test_targets_that_lead_nowhere(target: str, words: str) -> None:
    registry: Registry[object] = Registry("thing", "no.such.group", {"x": Entry(target)})
    with pytest.raises(UserError, match=words):
        registry.get("x")


def test_unknown_names_offer_near_matches() -> None:
    with pytest.raises(UserError, match="no model 'editar-scene'; did you mean editar-scenes"):
        MODELS.get("editar-scene")
    with pytest.raises(UserError, match="known are: .*oracle"):
        MODELS.get("zzz")


def test_every_builtin_metric_goes_by_its_own_name() -> None:
    for name in METRIC_TABLE:
        assert METRICS.get(name)().info.name == name


def test_settings_in_names() -> None:
    text = "oracle, editar-scenes:guidance=1,top_k=0,greedy=true,mode=fast ,blank"
    assert parse_models(text) == [
        ModelRef("oracle"),
        ModelRef("editar-scenes", {"guidance": 1, "top_k": 0, "greedy": True, "mode": "fast"}),
        ModelRef("blank"),
    ]


def test_labels_sort_settings_and_leave_out_defaults(dummies: None) -> None:
    assert ModelRef("m", {"b": 2, "a": True}).label == "m:a=true,b=2"
    assert create_model(ModelRef("noisy", {"strength": 10}))[0] == "noisy"
    label, model = create_model(ModelRef("noisy", {"strength": 12}))
    assert label == "noisy:strength=12"
    assert model.settings == {"strength": 12}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("noisy:strenght=3", "no setting 'strenght'; did you mean strength"),
        ("noisy:strength", "no setting; write name:key=value"),
        (" , ", "--model is empty"),
        ("nosiy", "did you mean noisy"),
    ],
)
def test_mistakes_in_model_names(dummies: None, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        for ref in parse_models(text):
            create_model(ref)


def test_a_factory_that_checks_its_own_settings(
    dummies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def factory(**settings: object) -> d.Noisy:
        raise ValueError("guidance must be positive")

    monkeypatch.setitem(MODELS._entries, "own", Entry(factory))
    with pytest.raises(UserError, match="'own:guidance=-1' refuses .*guidance must be positive"):
        create_model(ModelRef("own", {"guidance": -1}))
