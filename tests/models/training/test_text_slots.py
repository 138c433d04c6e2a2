"""No text of the grammar is cut: neither by the text encoder's slots nor by the CLIP's."""

import sentencepiece

from data_prep.scenes.stream import draw
from editar_bench.evaluators.clip import clip_config
from editar_bench.types import Task
from models.editar.templates import prompt_for
from models.training.campaign import WEIGHTS
from models.training.text_recipe import SLOTS


def test_ten_thousand_draws_fit_and_have_no_unknown_piece():
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(WEIGHTS / "text" / "spiece.model"))
    longest = 0
    for index in range(5000):
        sample = draw("evaluator", "edit", 2_000_000 + index)
        # The edge task has the longest template.
        for text in (sample.instruction, prompt_for(Task.EDGE, sample.caption)):
            ids = pieces.encode(text)
            assert pieces.unk_id() not in ids, text
            longest = max(longest, len(ids) + 1)
    assert longest <= min(SLOTS, clip_config(64)["text_cfg"]["context_length"])
