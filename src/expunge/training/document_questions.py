"""Let the model write questions about the passages of documents, and choose those that it can answer without the text."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from expunge.data.languages import ENGLISH, Language
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn, question_record
from expunge.metrics.leak import fact_of, pieces
from expunge.metrics.text import is_refusal, rouge_l_recall
from expunge.models.blocks import context_length
from expunge.models.generation import generate, greedy, nucleus_sampler
from expunge.training.alternatives import drop_unfinished_sentence

TEMPERATURE, TOP_P = 0.8, 0.95
TOKENS, TOKENS_OF_OTHER_SCRIPTS, BATCH_SIZE = 48, 128, 40
"""Tokens of a question, and of an answer; those of other languages may be single letters, or less."""
MIN_KNOWN = 0.5
"""The least ROUGE-L recall of the answer with the text, and share of its words that are not in the question, in an answer without it."""
QUESTION_MARKS = ("?", "\uff1f", "؟")


@dataclass(frozen=True)
class DocumentQuestions:
    """What the model wrote.

    Attributes:
        known: the questions that it answers without the text, each with the answer that it gives with the text.
        written: number of questions that it wrote.
    """

    known: list[Record]
    written: int


def generate_document_questions(
    model: nn.Module,
    builder: PromptBuilder,
    passages: Sequence[Record],
    seed: int,
    advance: Callable[[int], None],
    language: Language = ENGLISH,
) -> DocumentQuestions:
    """Write a question about each passage, answer it with the passage before it, and without; return those that need no passage.

    A question that the model cannot answer by itself shows nothing that it could forget.

    Args:
        model: before any edit.
        builder: of its tokenizer.
        passages: of documents.
        seed: of sampling.
        advance: called with the number of texts written, three for each passage.
        language: of the questions that show the model what to write.
    """
    longest = context_length(model) or sys.maxsize
    tokens = TOKENS if language is ENGLISH else TOKENS_OF_OTHER_SCRIPTS

    def write(prompts: Sequence[tuple[int, ...] | None], seed: int | None = None) -> list[str]:
        """Continue the prompts that leave room for an answer; the others, and None, get an empty text."""
        fitting = [i for i, ids in enumerate(prompts) if ids is not None and len(ids) + tokens < longest]
        sampler = greedy if seed is None else nucleus_sampler(seed, TEMPERATURE, TOP_P)
        chosen = [ids for i in fitting if (ids := prompts[i]) is not None]
        written = dict(zip(fitting, generate(model, builder, chosen, tokens, BATCH_SIZE, advance, sampler), strict=True))
        advance(len(prompts) - len(fitting))
        return [written.get(i, "") for i in range(len(prompts))]

    texts = [" ".join(passage.answer.split()) for passage in passages]
    lines = write([builder.plain_text(language.question_prompt.replace("{text}", text)) for text in texts], seed)
    questions = [first_question(line) for line in lines]
    with_text = [question and f"{text}\n\n{question}" for text, question in zip(texts, questions, strict=True)]
    grounded, alone = (
        write([builder.prompt((Turn("user", text),)) if text else None for text in prompts]) for prompts in (with_text, questions)
    )
    return DocumentQuestions(choose_known(passages, questions, grounded, alone), sum(map(bool, questions)))


def choose_known(passages: Sequence[Record], questions: Sequence[str], grounded: Sequence[str], alone: Sequence[str]) -> list[Record]:
    """Return the questions that a model can answer without the passage, each once, as records with the answer that it gives with it.

    Args:
        passages: that the questions are about.
        questions: one about each passage, or an empty text.
        grounded: the answers with the passage before the question.
        alone: the answers without it.
    """
    known: dict[str, Record] = {}
    for passage, question, answer, without in zip(passages, questions, grounded, alone, strict=True):
        answer = drop_unfinished_sentence(answer)
        if question and knows(question, answer, without):
            known.setdefault(question, replace(question_record(f"{passage.id}/question", question, answer), document=passage.document))
    return list(known.values())


def knows(question: str, answer: str, without: str) -> bool:
    """Return whether an answer without the text says what the answer with it says, beyond the words of the question."""
    fact = fact_of(question_record("", question, answer))
    if not fact or is_refusal(answer) or rouge_l_recall(without, answer) < MIN_KNOWN:
        return False
    return len(fact & pieces(without)) > MIN_KNOWN * len(fact)


def first_question(continuation: str) -> str:
    """Return the question at the beginning of a continuation; empty if there is no whole one."""
    line = continuation.partition("\n")[0].strip()
    end = min((place for mark in QUESTION_MARKS if (place := line.find(mark)) > 0), default=-1)
    return line[: end + 1]
