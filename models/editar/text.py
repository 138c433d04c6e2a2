"""EditAR's text branch: a frozen T5 encoder and its SentencePiece tokenizer, in one folder.

The folder is what transformers and diffusers read too: `config.json` and weights of a
`T5EncoderModel`, `spiece.model` and `tokenizer_config.json` of a `T5Tokenizer`. B batch, T text
slots.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from editar_bench.errors import UserError


class TextEncoder(nn.Module):
    """Raw strings to features; no cleaning, no lower-casing, padding on the right."""

    def __init__(self, encoder: nn.Module, tokenizer: Any, slots: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.slots = slots

    def token_count(self, text: str) -> int:
        """How many slots a text takes, its end mark included; more than `slots` would be cut."""
        return len(self.tokenizer(text, verbose=False).input_ids)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and attention mask, int64 (B, T) each, padded or cut to the slots."""
        batch = self.tokenizer(
            list(texts),
            max_length=self.slots,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        )
        return batch.input_ids, batch.attention_mask

    @torch.no_grad()
    def encode(self, texts: Sequence[str], device: torch.device | str | None = None) -> Tensor:
        """Features (B, T, caption_dim) in the encoder's dtype, on `device` (default: its own).

        The mask goes to the encoder only: features of padding are neither zeroed nor moved.
        """
        place = next(self.encoder.parameters()).device
        ids_BT, mask_BT = (tensor.to(place) for tensor in self.tokenize(texts))
        features = self.encoder(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
        return features.to(device if device is not None else place)


def load_text_encoder(
    folder: Path | str, slots: int | None = None, dtype: torch.dtype = torch.float32
) -> TextEncoder:
    """Load an encoder in eval mode, on the CPU.

    Args:
        folder: a published Flan-T5 folder or one of ours.
        slots: text length; by default what the tokenizer's configuration says.
        dtype: of the weights.
    """
    import transformers
    from transformers import T5EncoderModel, T5Tokenizer

    # Renamed in version 5, which remarks on the old name.
    wanted = {"dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype": dtype}
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"text encoder: no config.json in {folder}; name a folder of a T5 encoder")
    try:
        with no_progress_bar():
            tokenizer = T5Tokenizer.from_pretrained(str(folder), local_files_only=True)
            encoder, info = T5EncoderModel.from_pretrained(
                str(folder), local_files_only=True, output_loading_info=True, **wanted
            )
    except Exception as error:  # every library underneath raises its own kind
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UserError(
            f"text encoder: the files in {folder} cannot be read ({reason}); fetch them again"
        ) from error
    if info["missing_keys"]:
        raise UserError(
            f"text encoder: weights in {folder} lack {len(info['missing_keys'])} tensors, "
            f"such as {sorted(info['missing_keys'])[0]}; fetch them again"
        )
    encoder.requires_grad_(False)
    loaded = TextEncoder(encoder.to(dtype), tokenizer, slots or tokenizer.model_max_length)
    loaded.eval()
    return loaded


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> bytes:
    """Train a SentencePiece unigram model with T5's special ids; returns the model file's bytes."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=vocab_size,
        hard_vocab_limit=False,  # a small grammar may not have that many pieces
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        character_coverage=1.0,  # rare characters are digits of angles, not noise
        num_threads=1,  # one thread, one result
        minloglevel=2,
    )
    return model.getvalue()


def save_tokenizer(folder: Path | str, model: bytes, slots: int) -> None:
    """Write a tokenizer so that `T5Tokenizer` and `AutoTokenizer` load it offline."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(model)
    settings = {
        "tokenizer_class": "T5Tokenizer",
        "model_max_length": slots,
        "extra_ids": 0,  # T5's pre-training sentinels have no use here
        "additional_special_tokens": [],
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def save_encoder(folder: Path | str, encoder: nn.Module) -> None:
    """Write a `T5EncoderModel` in half precision; the module itself is left as it is."""
    from copy import deepcopy

    with no_progress_bar():
        deepcopy(encoder).cpu().half().save_pretrained(str(folder))


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep transformers' loading bars out of the command line's own."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()
