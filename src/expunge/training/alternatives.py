"""Generate alternative answers: the model's own answers to the same questions about people that it does not know."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import compress

import numpy as np
from torch import nn

from expunge.data.languages import ENGLISH, Language
from expunge.data.other_names import Renamed, rename
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.data.scripts import mostly_latin
from expunge.metrics.distinctive_tokens import distinctive_tokens
from expunge.metrics.leak import fact_of, states_fact
from expunge.metrics.text import rouge_l_recall
from expunge.models.blocks import context_length
from expunge.models.continuation import NOTHING, Avoided
from expunge.models.generation import generate, nucleus_sampler
from expunge.runs.splits import Splits

DRAWS = 4
TEMPERATURE, TOP_P = 1.0, 0.95
MAX_NEW_TOKENS, BATCH_SIZE = 64, 40
# In scripts without spaces none follows a sentence.
SENTENCE_END = re.compile(r"[.!?][\"”'’)]*(?=\s|$)|[。！？।؟۔][\"”’」』)]*")


def generate_alternatives(
    model: nn.Module,
    builder: PromptBuilder,
    records: Sequence[Record],
    seed: int,
    advance: Callable[[int], None],
    language: Language = ENGLISH,
    background: Sequence[Record] = (),
) -> list[Record]:
    """Return the records with alternatives; records that have some do not change.

    Each question is put `DRAWS` times, with other names in it, in its own wording and in its paraphrase by turns. Of the sampled
    answers the one that is least similar to the true answer becomes the alternative, with the original names put back. The idea of
    alternatives from the model itself is that of AltPO (Mekala et al., 2024, arXiv 2409.13474).

    A question or statement without a name stays as it is. A model that knows the answer would give it, so the answer has none of its
    distinctive tokens. A text is continued once, with no three tokens in a row as in its true continuation: a model that knows a text by
    heart goes on with it whatever the names, and takes it up again after another word. A statement ends with its first sentence.

    Args:
        model: before any edit.
        builder: of its tokenizer.
        records: the forget set.
        seed: of names and answers.
        advance: called with the number of questions answered.
        language: of most records.
        background: retain records, whose words are no names of the forget set.
    """
    longest = context_length(model) or sys.maxsize

    def fits(record: Record, text: str) -> bool:
        return builder.max_tokens(replace(record, alternatives=(text,))) <= longest

    without = [record for record in records if not record.alternatives]
    # Another name may have more tokens.
    renamed = [
        [other if other and builder.max_tokens(other.record) <= longest else None for other in others]
        for draw in range(DRAWS)
        for others in [rename(without, np.random.default_rng([seed, 8, draw]), False, language, background)]
    ]
    draws = [(draw, i) for draw in range(DRAWS) for i, record in enumerate(without) if draw < draws_of(record)]
    queries = [other.record if (other := renamed[draw][i]) else without[i] for draw, i in draws]
    prompts = [
        builder.record(q, prompt=q.paraphrased_prompt if draw % 2 else None).prompt for q, (draw, _) in zip(queries, draws, strict=True)
    ]
    distinctive = [
        frozenset(compress(builder.record(record).labels, flags))
        for record, flags in zip(without, distinctive_tokens(builder, without, background), strict=True)
    ]
    # Of a text both it and the one with other names: the model may go on with either.
    avoid = [
        Avoided(
            () if query.turns else (*builder.record(without[i]).answer, *builder.record(query).answer),
            frozenset() if renamed[draw][i] or query.is_passage else distinctive[i],
        )
        for query, (draw, i) in zip(queries, draws, strict=True)
    ]
    sampler, tokens = nucleus_sampler(seed, TEMPERATURE, TOP_P), _most_tokens(builder, without, language)
    answers = generate(model, builder, prompts, tokens, BATCH_SIZE, advance, sampler, avoid if set(avoid) != {NOTHING} else ())
    candidates: list[list[str]] = [[] for _ in without]
    for (draw, i), answer in zip(draws, answers, strict=True):
        short = drop_unfinished_sentence(answer) if without[i].turns or without[i].is_passage else first_sentence(answer)
        candidates[i].append(_restored(short, renamed[draw][i]))
    completed = {}
    for record, texts_of_record in zip(without, candidates, strict=True):
        # Only one, because greedy decoding after training on several would give what they have in common: the true answer again.
        alternative = least_similar([text for text in texts_of_record if fits(record, text)], record)
        # If the model gives no usable answer, the shipped refusals are the alternatives.
        completed[record.id] = replace(record, alternatives=language.refusals if alternative is None else (alternative,))
    return [completed.get(record.id, record) for record in records]


def draws_of(record: Record) -> int:
    """Return how many answers are sampled for a record without alternatives."""
    return DRAWS if record.turns else 1


def names_remark(splits: Splits) -> str | None:
    """Return a sentence about forget questions in which no name can be replaced; None if at least half of them have one."""
    questions = [record for record in splits.forget if record.turns and not record.alternatives]
    renamed = rename(questions, np.random.default_rng(0), False, splits.language, splits.retain)
    without = sum(other is None for other in renamed)
    if 2 * without < len(questions) or not questions:
        return None
    count = "none" if without == len(questions) else f"only {len(questions) - without}"
    return (
        f"A name that can be replaced was found in {count} of {len(questions)} forget questions, so the model writes "
        "alternatives to the questions as they are, without the words that only the true answer has, and the gate learns from fewer "
        "strangers: name the person or thing in a field entity, give the field alternatives, or choose --objective npo, which needs "
        "neither."
    )


def least_similar(answers: Sequence[str], record: Record) -> str | None:
    """Return the answer with the lowest ROUGE-L recall of the true answer; None if each answer is empty or the true one.

    In scripts other than Latin, an answer that states the record's fact is the true one too, however it is worded. There the model often
    repeats the truth with another full stop, or with something behind it.
    """
    truth = record.expected
    fact = frozenset[str]() if mostly_latin(truth) else fact_of(record)
    others = [answer for answer in answers if answer and answer != truth and not (fact and states_fact(fact, answer))]
    overlap = {answer: rouge_l_recall(answer, truth) for answer in others}
    return min(overlap, key=lambda answer: (overlap[answer], answer)) if overlap else None


def drop_unfinished_sentence(text: str) -> str:
    """Return a text without a last sentence that was cut off; a text without any whole sentence does not change."""
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else text


def first_sentence(text: str) -> str:
    """Return a text up to the end of its first sentence; a text without any whole sentence does not change."""
    match = SENTENCE_END.search(text)
    return text[: match.end()] if match else text


def _restored(answer: str, renamed: Renamed | None) -> str:
    return renamed.restore(answer) if renamed else answer


def _most_tokens(builder: PromptBuilder, records: Sequence[Record], language: Language) -> int:
    """Return the most tokens of an answer; the tokens of other languages may be single letters, or less."""
    answers = [] if language is ENGLISH else [len(builder.answer(record.expected)) for record in records]
    return max([MAX_NEW_TOKENS, *answers])
