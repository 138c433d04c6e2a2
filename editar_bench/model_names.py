"""Model names as people type them: `oracle,editar-scenes:guidance=1,top_k=0` or `diffusers:owner/name,steps=30`."""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from editar_bench.contracts import Model
from editar_bench.errors import BadSettings, UserError, missing_package
from editar_bench.registry import MODELS, near_matches

SOURCES = {"diffusers": "source"}  # models whose first setting needs no key: what they are made of
_PIECE = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*"?)+')  # up to a comma that is not between quotes
_KEY = re.compile(r"\w+\s*=")


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A registry name with the settings given in the name."""

    base: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name shown everywhere: settings sorted, so that their order does not make another model."""
        pairs = [f"{key}={show(value)}" for key, value in sorted(self.settings.items())]
        source = self.settings.get(SOURCES.get(self.base, ""))
        if source is not None:
            key = SOURCES[self.base]
            pairs = [str(source), *(pair for pair in pairs if not pair.startswith(f"{key}="))]
        return f"{self.base}:{','.join(pairs)}" if pairs else self.base


def show(value: Any) -> str:
    """A setting as it is typed; text that would be read as something else (a number, two pieces) in quotes."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 2.0 and 2 are one setting, and make one model
    whole = isinstance(value, str) and value.strip() == value != "" and not set(value) & set(',"')
    return value if whole and _value(value) == value else json.dumps(value, ensure_ascii=False)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or more digits or brackets than Python reads
        return text


def _at_home(value: Any) -> Any:
    """A path that begins with the user's home, which shells do not see behind a colon or an equals sign, in full."""
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~/") else value


def parse_models(text: str) -> list[ModelRef]:
    """Split a comma list; a piece `key=value` continues the settings of the model before it.

    A value with a comma in it stands between double quotes: `controlnet:negative="worst quality, low quality"`.
    """
    pieces = _pieces(text)
    if not pieces:
        raise UserError("--model is empty; name at least one model (see `editar-bench ls models`).")
    return [ModelRef(_registered(base), settings) for base, settings in pieces]


def _registered(name: str) -> str:
    """The name itself; of a system that runs elsewhere, and of an unknown one, an error that says so."""
    from editar_bench.systems import elsewhere

    system = elsewhere().get(name)
    if system is None or name in MODELS.names():
        return MODELS.check(name)
    if not system.layout:
        raise UserError(f"'{name}' cannot be run: {system.why}.")
    raise UserError(
        f"'{name}' runs in its own repository, whose code is never run here; score its pictures with "
        f"`{system.route} --images DIR --name {name} ...` (see `editar-bench ls models {name}`)."
    )


def parse_label(label: str) -> ModelRef:
    """The name and settings behind the label of one model, which need not be registered."""
    return ModelRef(*_pieces(label)[0])


def _pieces(text: str) -> list[tuple[str, dict[str, Any]]]:
    pieces: list[tuple[str, dict[str, Any]]] = []
    for piece in filter(None, (part.strip() for part in _PIECE.findall(text))):
        name, _, setting = piece.partition(":")
        if _KEY.match(piece) and pieces:
            setting = piece
        else:
            pieces.append((name, {}))
        if setting and name in SOURCES and not _KEY.match(setting):
            pieces[-1][1][SOURCES[name]] = _at_home(setting)
        elif setting:
            key, equals, value = setting.partition("=")
            if not equals or not key:
                raise UserError(
                    f"'{setting}' in --model is no setting; write name:key=value,key=value."
                )
            if key.strip() in pieces[-1][1]:
                raise UserError(
                    f"'{key.strip()}' of {pieces[-1][0]} in --model has two values; write it once."
                )
            pieces[-1][1][key.strip()] = _at_home(_value(value.strip()))
    return pieces


def create_model(ref: ModelRef) -> tuple[str, Model]:
    """Build a model; returns its label (only settings that differ from the defaults) and the model.

    Raises:
        BadSettings: a setting is unknown or has a value that the model refuses.
        UserError: an unknown name, or weights that are missing or corrupt.
    """
    factory = MODELS.get(ref.base)
    check_settings(ref, factory)
    try:
        model = factory(**ref.settings)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise refused(ref, error) from error
    except ModuleNotFoundError as error:
        raise UserError(missing_package(f"Model '{ref.base}'", error)) from error
    except UserError:
        raise
    except Exception as error:  # of a plugin: a row that says so, and the other models go on
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"Model '{ref.label}' cannot be built ({reason}).") from error
    return _without_defaults(ref, factory).label, model


def refused(ref: ModelRef, error: Exception) -> BadSettings:
    """What a model says against the settings of its name."""
    return BadSettings(f"Model '{ref.label}' refuses its settings: {error}.")


def _parameters(factory: Callable[..., Model]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(factory).parameters)


def check_settings(ref: ModelRef, factory: Callable[..., Model]) -> None:
    """Refuse a setting that the model does not have.

    Raises:
        BadSettings: naming the closest ones that it has.
    """
    parameters = _parameters(factory)
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return  # the factory validates its own settings
    for key in ref.settings:
        if key not in parameters:
            hint = near_matches(key, parameters) if parameters else "it has no settings."
            raise BadSettings(f"Model '{ref.base}' has no setting '{key}'; {hint}")


def _without_defaults(ref: ModelRef, factory: Callable[..., Model]) -> ModelRef:
    if not ref.settings:
        return ref
    defaults: dict[str, Any] = {name: p.default for name, p in _parameters(factory).items()}
    defaults |= getattr(factory, "defaults", {})
    presets = getattr(factory, "presets", {})
    defaults |= presets.get(ref.settings.get("protocol", defaults.get("protocol")), {})
    kept = {k: v for k, v in ref.settings.items() if k not in defaults or defaults[k] != v}
    return ModelRef(ref.base, kept)
