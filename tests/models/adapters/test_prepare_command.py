"""`editar-bench prepare --model` and a whole run of a released system, from the command line."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from editar_bench.cli import app
from editar_bench.model_names import create_model, parse_models
from models.adapters.instruction_editors import InstructPix2Pix


def call(*arguments):
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, " ".join(done.output.split())


def test_prepare_names_every_folder(pipelines):
    net = pipelines / "controlnet"
    name = f"controlnet:base={pipelines / 'sd'},edit=none,depth={net},edge={net},segmentation={net}"
    code, text = call("prepare", "--model", f"{name},steps=3,diffusers:{pipelines / 'ip2p'}")
    assert code == 0, text
    assert text.count("weights controlnet: ") == 4
    assert f"weights diffusers: {pipelines / 'ip2p'}" in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("stable-diffusion:weight=x", "has no setting 'weight'; did you mean weights"),
        ("editar:guidence=1", "has no setting 'guidence'; did you mean guidance"),
        ("flux-kontext:gidance=1", "has no setting 'gidance'; did you mean guidance"),
        ("controlnet:step=50", "has no setting 'step'; did you mean steps"),
        ("codec-sd:weigths=x", "has no setting 'weigths'; did you mean weights"),
        ("diffusers", "name one as diffusers:owner/name"),
        ("llamagen:stage=9", "'llamagen:stage=9' refuses its settings"),
        ("controlnet:edge=5", "'controlnet:edge=5' refuses its settings"),
        ("editar:weights=5", "'editar:weights=5' refuses its settings"),
        ("editar-scenes:guidance=abc", "'editar-scenes:guidance=abc' refuses its settings"),
        ("magicbrush:weights=me/mine", "'me/mine' cannot be downloaded"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, monkeypatch, name, words):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    code, text = call("prepare", "--model", name)
    assert code != 0 and words in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("settings", "label", "steps"),
    [
        ("steps=100,guidance=7.5", "instruct-pix2pix", 100),
        ("protocol=pnpinversion,steps=50", "instruct-pix2pix:protocol=pnpinversion", 50),
        ("steps=50", "instruct-pix2pix:steps=50", 50),
    ],
)
def test_labels_carry_what_differs_from_the_protocol(
    pipelines, monkeypatch, settings, label, steps
):
    monkeypatch.setattr(InstructPix2Pix, "weights", str(pipelines / "ip2p"))
    made, model = create_model(parse_models(f"instruct-pix2pix:{settings}")[0])
    assert (made, model.settings["steps"]) == (label, steps)


def test_the_generic_adapters_label_begins_with_its_source(pipelines):
    label, model = create_model(parse_models(f"diffusers:{pipelines / 'ip2p'},steps=3")[0])
    assert label == f"diffusers:{pipelines / 'ip2p'},steps=3"
    assert model.settings["steps"] == 3
