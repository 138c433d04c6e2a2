"""Names: lookup, collisions, near matches, settings in model names."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from editar_bench.builtin import METRICS as METRIC_TABLE
from editar_bench.errors import UserError
from editar_bench.model_names import ModelRef, create_model, parse_models
from editar_bench.registry import METRICS, MODELS, Entry, Registry
from editar_bench.types import Example, Task
from tests.editar_bench import dummies as d


def test_targets_are_imported_when_asked() -> None:
    registry: Registry[object] = Registry("thing", "no.such.group", {"join": Entry("os.path:join")})
    import os

    assert registry.names() == ["join"]
    assert registry.get("join") is os.path.join


def test_a_collision_names_both_places() -> None:
    registry: Registry[object] = Registry("thing", "no.such.group", {"join": Entry("os.path:join")})
    registry._add("join", Entry("os.path:join"))  # the same again is no collision
    with pytest.raises(UserError, match=r"named 'join': os\.path:join .* and shlex:join"):
        registry._add("join", Entry("shlex:join"))


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
    [
        ("nowhere.to.be:found", "module 'nowhere'"),
        ("os.path:jion", "cannot be loaded"),
        ("broken_plugin:Model", r"cannot be loaded \(RuntimeError: no licence server\)"),
    ],
)
def test_targets_that_lead_nowhere(
    target: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_plugin.py").write_text("raise RuntimeError('no licence server')")
    monkeypatch.syspath_prepend(tmp_path)
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


@pytest.mark.parametrize(
    ("text", "source", "settings"),
    [
        ("diffusers:owner/name", "owner/name", {}),
        ("diffusers:/a=b/c:d,steps=3", "/a=b/c:d", {"steps": 3}),
        ("diffusers:steps=3,source=here", "here", {"steps": 3}),
    ],
)
def test_the_generic_adapter_is_named_by_its_source(
    monkeypatch: pytest.MonkeyPatch, text: str, source: str, settings: dict[str, int]
) -> None:
    monkeypatch.setitem(MODELS._entries, "diffusers", Entry(None))
    first, second = parse_models(f"{text},oracle")
    assert first == ModelRef("diffusers", {"source": source, **settings})
    assert second == ModelRef("oracle")
    assert first.label == ",".join([f"diffusers:{source}", *(f"{k}=3" for k in settings)])
    assert parse_models(first.label) == [first]


def test_values_with_commas_stand_between_quotes() -> None:
    text = 'blank:negative="worst quality, low: \\"bad\\"",path=/a:b,oracle'
    first, second = parse_models(text)
    assert first.settings == {"negative": 'worst quality, low: "bad"', "path": "/a:b"}
    assert second.base == "oracle"
    assert parse_models(first.label) == [first]
    assert parse_models('blank:negative=" "')[0].label == 'blank:negative=" "'
    assert parse_models('blank:text="never closed, at all')[0].settings == {
        "text": '"never closed, at all'
    }


def test_labels_leave_out_what_the_protocol_says(monkeypatch: pytest.MonkeyPatch) -> None:
    class Published(d.Noisy):
        presets = {"benchmark": {"strength": 20}, "author": {"strength": 30}}

        def __init__(self, protocol: str = "benchmark", strength: int | None = None) -> None:
            super().__init__(strength=strength or self.presets[protocol]["strength"])

    monkeypatch.setitem(MODELS._entries, "published", Entry(Published))
    labels = {
        text: create_model(parse_models(text)[0])[0]
        for text in (
            "published:strength=20",
            "published:protocol=benchmark,strength=30",
            "published:protocol=author,strength=30",
            "published:protocol=author,strength=20",
        )
    }
    assert list(labels.values()) == [
        "published",
        "published:strength=30",
        "published:protocol=author",
        "published:protocol=author,strength=20",
    ]


def test_labels_sort_settings_and_leave_out_defaults(dummies: None) -> None:
    assert ModelRef("m", {"b": 2, "a": True}).label == "m:a=true,b=2"
    assert create_model(ModelRef("noisy", {"strength": 10}))[0] == "noisy"
    label, model = create_model(ModelRef("noisy", {"strength": 12}))
    assert label == "noisy:strength=12"
    assert model.settings == {"strength": 12}
    assert ModelRef("m", {"a": 2.0, "b": 2.5}).label == "m:a=2,b=2.5"


def test_a_path_may_begin_at_home(dummies: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert parse_models("noisy:strength=~/x")[0].settings == {"strength": "/home/me/x"}
    assert parse_models("diffusers:~/pipe")[0].settings == {"source": "/home/me/pipe"}
    assert parse_models("noisy:strength=~x")[0].settings == {"strength": "~x"}


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 100_000])
def test_values_that_json_cannot_read_are_text(dummies: None, value: str) -> None:
    assert parse_models(f"noisy:strength={value}")[0].settings == {"strength": value}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("noisy:strenght=3", "no setting 'strenght'; did you mean strength"),
        ("noisy:strength", "no setting; write name:key=value"),
        (" , ", "--model is empty"),
        ("nosiy", "did you mean noisy"),
        ("noisy:strength=1,strength=3", "'strength' of noisy in --model has two values"),
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


def test_the_readmes_model_of_your_own_works(monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"(?:^    from editar_bench\.types .*\n)(?:^(?: {4}.*)?\n)+", readme, re.M)
    place: dict[str, Any] = {}
    exec(textwrap.dedent(code), place)
    monkeypatch.setitem(MODELS.entries(), "my-model", Entry(place["MyModel"]))
    label, model = create_model(ModelRef("my-model", {"strength": 0.25}))
    assert label == "my-model:strength=0.25" and model.settings == {"strength": 0.25}
    assert model.capabilities[Task.EDIT].how == "native" and model.kind == "measured"
    gray = np.full((4, 4, 3), 200, dtype=np.uint8)
    example = Example(id="a", task=Task.EDIT, prompt="", condition=gray)
    (made,) = model.generate([example], [0])
    assert made.image.dtype == np.uint8 and (made.image == 50).all()
