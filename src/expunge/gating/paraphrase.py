"""Paraphrase questions with the model itself, and filter out the paraphrases that no longer elicit the answer."""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from expunge.data.languages import ENGLISH, Language
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.metrics.text import rouge_l_recall
from expunge.models.blocks import context_length
from expunge.models.generation import generate, nucleus_sampler

log = logging.getLogger(__name__)

DRAWS = 3
TEMPERATURE, TOP_P = 0.8, 0.95
BATCH_SIZE, QUESTION_TOKENS, ANSWER_TOKENS = 40, 48, 48
MIN_RECALL = 0.5
"""ROUGE-L recall of the true answer from which a paraphrase counts as eliciting it."""
QUESTION_ENDS = ("?", ".", "\uff1f", "。", "؟", "।")


def paraphrase(
    model: nn.Module,
    builder: PromptBuilder,
    records: Sequence[Record],
    seed: int,
    advance: Callable[[int], None],
    language: Language = ENGLISH,
) -> list[Record]:
    """Return records with paraphrased questions that still elicit the answer: none, one or several for each given record.

    Args:
        model: before any edit.
        builder: of its tokenizer.
        records: questions with answers; records without a question or an answer are left out.
        seed: of sampling.
        advance: called with the number of questions paraphrased, and with the number of answers generated.
        language: of the questions that show the model what a paraphrase is.
    """
    longest = context_length(model) or sys.maxsize
    usable = [record for record in records if record.is_question and record.answer]
    # A text to continue instead of an instruction: instructed to paraphrase a question, small models answer it.
    encoded = [(record, builder.plain_text(language.paraphrase_prompt.replace("{prompt}", record.prompt))) for record in usable]
    if too_long := sum(len(prompt) >= longest for _, prompt in encoded):
        log.warning("%d questions are not paraphrased, because they are too long for the model's context.", too_long)
        usable = [record for record, prompt in encoded if len(prompt) < longest]
    prompts = [prompt for _, prompt in encoded if len(prompt) < longest]
    question_tokens, answer_tokens = _most_tokens(builder, usable, language)
    lines = generate(model, builder, prompts * DRAWS, question_tokens, BATCH_SIZE, advance, nucleus_sampler(seed, TEMPERATURE, TOP_P))
    questions = [(record, parse_question(record.prompt, line)) for record, line in zip(usable * DRAWS, lines, strict=True)]
    # Without duplicates: several draws may give the same question.
    paraphrases = list(dict.fromkeys(replace(r, turns=(*r.turns[:-1], Turn("user", text))) for r, text in questions if text))
    paraphrases = [record for record in paraphrases if len(builder.record(record).prompt) < longest]
    answers = generate(model, builder, [builder.record(record).prompt for record in paraphrases], answer_tokens, BATCH_SIZE, advance)
    return [record for record, answer in zip(paraphrases, answers, strict=True) if rouge_l_recall(answer, record.answer) >= MIN_RECALL]


def _most_tokens(builder: PromptBuilder, records: Sequence[Record], language: Language) -> tuple[int, int]:
    """Return the most tokens of a question and of an answer; the tokens of other languages may be single letters, or less."""
    if language is ENGLISH:
        return QUESTION_TOKENS, ANSWER_TOKENS
    questions, answers = (
        [len(builder.plain_text(text)) for text in texts] for texts in ([r.prompt for r in records], [r.answer for r in records])
    )
    return max([QUESTION_TOKENS, *questions]), max([ANSWER_TOKENS, *answers])


def parse_question(prompt: str, continuation: str) -> str | None:
    """Return the question in a model's continuation; None if it is not a whole question, or is `prompt` again."""
    question = continuation.partition("\n")[0].strip()
    same = "".join(filter(str.isalnum, question)).lower() == "".join(filter(str.isalnum, prompt)).lower()
    return None if same or not question.endswith(QUESTION_ENDS) else question
