"""Which networks there are, in dependency order, and the share of a campaign's minutes that each one gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from data_prep.scenes.constants import IMAGE_SIZE
from editar_bench.errors import UserError
from models.training.bank import Bank, open_bank
from models.training.families import GRIDS
from models.training.recipe import Recipe

SHARES = {  # of the minutes of `train all`; measured needs, rounded
    "codec": 0.22,
    "text": 0.04,
    "segmenter": 0.08,
    "depth": 0.04,
    "clip": 0.06,
    "teacher": 0.03,
    "editar": 0.32,
    "decoder": 0.05,
    "vae": 0.06,
    "instruct-pix2pix": 0.10,
}
_MODELS = Path(__file__).parent.parent
WEIGHTS = _MODELS / "weights"
_JUDGES = _MODELS.parent / "editar_bench" / "evaluators" / "weights"
AFTERWARDS = ("reader", "rewarded")  # EditAR learns from its own pictures, as the reader sees them
_NOT_SHIPPED = ("teacher", "reader", *GRIDS)
_TOKENIZER_EDITS = 4096  # whose texts the tokenizer is trained on


@dataclass(frozen=True, slots=True)
class Campaign:
    """Where the pieces of a campaign live, and how large its banks are."""

    bank_folder: Path
    runs: Path
    device: str
    train_edits: int
    evaluator_edits: int
    weights: Path = WEIGHTS
    judges: Path = _JUDGES
    continuing: bool = False  # whether networks go on from shipped weights

    def bank(self, split: str, size: int = IMAGE_SIZE) -> Bank:
        """The bank of a split, rendered first if need be."""
        edits = {"train": self.train_edits, "evaluator": self.evaluator_edits, "validation": 256}
        return open_bank(self.bank_folder, split, edits[split], size=size)  # type: ignore[arg-type]

    def folder(self, name: str) -> Path:
        """Where a network's weights go."""
        if name in ("segmenter", "depth", "clip"):
            return self.judges
        if name == "decoder":  # a part of the codec
            return self.weights / "codec"
        if name == "rewarded":
            return self.weights / "editar"
        return self.runs / name if name in _NOT_SHIPPED else self.weights / name

    def tokenizer(self, own: Path) -> bytes:
        """The SentencePiece model that every text network shares, trained once.

        Args:
            own: where the network keeps the one it was trained with. A network that goes on reads with that: another
                one numbers the pieces otherwise.
        """
        from editar_bench.types import Task
        from models.editar.templates import prompt_for
        from models.editar.text import train_tokenizer
        from models.training.text_recipe import SCENE_TASKS, VOCABULARY

        path = self.runs / "spiece.model"
        shipped = self.weights / "text" / "spiece.model"
        for known in (own, path, shipped) if self.continuing else (path, shipped):
            if known.exists():
                return known.read_bytes()
        texts = []
        for record in self.bank("train").texts[:_TOKENIZER_EDITS]:
            texts.append(prompt_for(Task.EDIT, record["instruction"]))
            for task, caption in zip(SCENE_TASKS, record["captions"], strict=False):
                texts.append(prompt_for(task, caption))
        texts += [prompt_for(task, "") for task in SCENE_TASKS]
        words = sorted({word.strip(",.:") for text in texts for word in text.split()})
        # SentencePiece takes as a piece only what occurs in two different words: with these lines every word does.
        texts += [f"{word} {word}, {word}." for word in words]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(train_tokenizer(texts, VOCABULARY))
        return path.read_bytes()

    def recipe(self, name: str) -> Recipe:
        """The recipe of one network."""
        return _RECIPES[name](self)


def _codec(campaign: Campaign) -> Recipe:
    from models.training.codec_recipe import CodecRecipe
    from models.training.settings import CODEC

    return CodecRecipe(CODEC, campaign.bank("train"), campaign.bank("validation"))


def _grid(campaign: Campaign, name: str) -> Recipe:
    from models.training.codec_recipe import CodecRecipe
    from models.training.settings import GRIDS

    config = GRIDS[name]
    banks = (
        campaign.bank("train", config.image_size),
        campaign.bank("validation", config.image_size),
    )
    return CodecRecipe(config, *banks, name=name)


def _decoder(campaign: Campaign) -> Recipe:
    from models.training.decoder_recipe import DecoderRecipe
    from models.training.settings import CODEC

    banks = campaign.bank("train"), campaign.bank("validation")
    return DecoderRecipe(CODEC, *banks, campaign.folder("codec"))


def _text(campaign: Campaign) -> Recipe:
    from models.training.text_recipe import TextRecipe

    banks = campaign.bank("train"), campaign.bank("validation")
    folder = campaign.folder("text")
    return TextRecipe(*banks, campaign.tokenizer(folder / "spiece.model"), folder)


def _segmenter(campaign: Campaign) -> Recipe:
    from models.training.evaluator_recipes import SegmenterRecipe

    return SegmenterRecipe(campaign.bank("evaluator"), campaign.bank("validation"))


def _depth(campaign: Campaign) -> Recipe:
    from models.training.evaluator_recipes import DepthRecipe

    return DepthRecipe(campaign.bank("evaluator"), campaign.bank("validation"))


def _clip(campaign: Campaign) -> Recipe:
    from models.training.evaluator_recipes import CLIPRecipe

    banks = campaign.bank("evaluator"), campaign.bank("validation")
    own = campaign.folder("clip") / "clip" / "spiece.model"
    return CLIPRecipe(*banks, campaign.tokenizer(own))


def _teacher(campaign: Campaign) -> Recipe:
    from models.training.teacher_recipe import TeacherRecipe

    return TeacherRecipe(campaign.bank("train"), campaign.bank("validation"))


def _editar(
    campaign: Campaign,
    teacher: Literal["own", "judging CLIP", "none"] = "own",
    only: Literal["depth"] | None = None,
) -> Recipe:
    from editar_bench.types import Task
    from models.training.editar_recipe import EditARRecipe
    from models.training.settings import EDITAR
    from models.training.teachers import judging_clip, own_teacher
    from models.training.token_stream import SHARES as TASK_SHARES

    if campaign.continuing:
        # The alignment is not shipped; a fresh one undoes in minutes what hours have settled (docs/training-log.md).
        teacher = "none"
    teachers = {
        "own": lambda: own_teacher(campaign.folder("teacher") / "teacher.pt"),
        "judging CLIP": judging_clip,
        "none": lambda: None,
    }
    return EditARRecipe(
        EDITAR,
        campaign.bank("train"),
        campaign.bank("validation"),
        campaign.weights,
        teachers[teacher](),
        shares={Task(only): 1.0} if only else TASK_SHARES,
        device=campaign.device,
    )


def _reader(campaign: Campaign) -> Recipe:
    from models.training.reader_recipe import ReaderRecipe

    return ReaderRecipe(campaign.bank("train"), campaign.bank("validation"), campaign.weights)


def _rewarded(campaign: Campaign) -> Recipe:
    from models.training.reader_recipe import load_reader
    from models.training.rewarded_recipe import RewardedRecipe
    from models.training.settings import EDITAR

    if not campaign.continuing:
        raise UserError(
            "train rewarded: only what can draw pictures already learns from them; add --from weights"
        )
    reader = load_reader(campaign.folder("reader") / "reader.pt")
    banks = campaign.bank("train"), campaign.bank("validation")
    return RewardedRecipe(EDITAR, *banks, campaign.weights, reader, device=campaign.device)


def _llamagen(campaign: Campaign) -> Recipe:
    from models.training.llamagen_recipe import LlamaGenRecipe
    from models.training.settings import LLAMAGEN

    banks = campaign.bank("train"), campaign.bank("validation")
    return LlamaGenRecipe(LLAMAGEN, *banks, campaign.weights, device=campaign.device)


def _parti(campaign: Campaign) -> Recipe:
    from models.training.parti_recipe import PartiRecipe
    from models.training.settings import PARTI

    banks = campaign.bank("train"), campaign.bank("validation")
    return PartiRecipe(PARTI, *banks, campaign.weights, device=campaign.device)


def _muse(campaign: Campaign) -> Recipe:
    from models.training.muse_recipe import MuseRecipe
    from models.training.settings import MUSE

    banks = campaign.bank("train"), campaign.bank("validation")
    return MuseRecipe(MUSE, *banks, campaign.weights, device=campaign.device)


def _var(campaign: Campaign) -> Recipe:
    from models.training.settings import VAR
    from models.training.var_recipe import VarRecipe

    banks = campaign.bank("train"), campaign.bank("validation")
    return VarRecipe(VAR, *banks, campaign.weights, device=campaign.device)


def _vae(campaign: Campaign) -> Recipe:
    from models.training.kl_recipe import KLRecipe

    return KLRecipe(campaign.bank("train"), campaign.bank("validation"))


def _instruct_pix2pix(campaign: Campaign) -> Recipe:
    from models.training.instruct_pix2pix_recipe import InstructPix2PixRecipe

    banks = campaign.bank("train"), campaign.bank("validation")
    return InstructPix2PixRecipe(*banks, campaign.weights)


def _stable_diffusion(campaign: Campaign) -> Recipe:
    from models.training.stable_diffusion_recipe import StableDiffusionRecipe

    banks = campaign.bank("train"), campaign.bank("validation")
    return StableDiffusionRecipe(*banks, campaign.weights)


def _controlnet(campaign: Campaign, kind: Literal["depth", "edge", "segmentation"]) -> Recipe:
    from models.training.controlnet_recipe import ControlNetRecipe

    banks = campaign.bank("train"), campaign.bank("validation")
    return ControlNetRecipe(kind, *banks, campaign.weights)


_RECIPES: dict[str, Callable[[Campaign], Recipe]] = {
    "codec": _codec,
    "decoder": _decoder,
    "text": _text,
    "segmenter": _segmenter,
    "depth": _depth,
    "clip": _clip,
    "teacher": _teacher,
    "editar": _editar,
    "reader": _reader,
    "rewarded": _rewarded,
    "editar-common": _editar,  # with the budget that is common to all paradigms
    "editar-no-distillation": partial(_editar, teacher="none"),
    "editar-clip-teacher": partial(_editar, teacher="judging CLIP"),
    "editar-depth-only": partial(_editar, only="depth"),
    **{name: partial(_grid, name=name) for name in GRIDS},
    "llamagen": _llamagen,
    "parti": _parti,
    "muse": _muse,
    "var": _var,
    "vae": _vae,
    "stable-diffusion": _stable_diffusion,
    "controlnet-depth": partial(_controlnet, kind="depth"),
    "controlnet-edge": partial(_controlnet, kind="edge"),
    "controlnet-segmentation": partial(_controlnet, kind="segmentation"),
    "instruct-pix2pix": _instruct_pix2pix,
}
