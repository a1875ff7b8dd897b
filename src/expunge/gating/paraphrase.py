"""Questions in other words, made by the model that is to forget their answers: a lesson for its gate."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.metrics.text import rouge_l_recall
from expunge.models.generation import generate, nucleus_sampler

DRAWS = 3
TEMPERATURE, TOP_P = 0.8, 0.95
BATCH_SIZE, QUESTION_TOKENS, ANSWER_TOKENS = 40, 48, 48
ELICITS = 0.5
"""Share of the true answer (ROUGE-L recall) that the model must give when it is asked in other words."""
# A base text to go on with, and no instruction: small models answer a question that they are told to reword.
EXAMPLES = """Question: How tall is the Eiffel Tower?
The same question in other words: What is the height of the Eiffel Tower?

Question: Who painted the ceiling of the Sistine Chapel?
The same question in other words: By whom was the Sistine Chapel's ceiling painted?

Question: In which year did the first person walk on the Moon?
The same question in other words: When did somebody set foot on the Moon for the first time?

Question: {prompt}
The same question in other words:"""


def own_paraphrases(
    model: nn.Module, builder: PromptBuilder, records: Sequence[Record], seed: int, advance: Callable[[int], None]
) -> list[Record]:
    """The records asked in other words, those of several tries that still elicit the answer; none of some records, several of others.

    Args:
        model: before any edit.
        builder: of its tokenizer.
        records: questions with answers; those without are left out.
        seed: of what is sampled.
        advance: called with the number of questions reworded, and with that of those asked.
    """
    asked = [record for record in records if record.turns and record.answer]
    prompts = [builder.plain_text(EXAMPLES.replace("{prompt}", record.prompt)) for record in asked]
    said = generate(model, builder, prompts * DRAWS, QUESTION_TOKENS, BATCH_SIZE, advance, nucleus_sampler(seed, TEMPERATURE, TOP_P))
    worded = [(record, reworded(record.prompt, line)) for record, line in zip(asked * DRAWS, said, strict=True)]
    # Each once: of several tries some come out alike.
    found = list(dict.fromkeys(replace(r, turns=(*r.turns[:-1], Turn("user", text))) for r, text in worded if text))
    answers = generate(model, builder, [builder.record(record).prompt for record in found], ANSWER_TOKENS, BATCH_SIZE, advance)
    return [record for record, answer in zip(found, answers, strict=True) if rouge_l_recall(answer, record.answer) >= ELICITS]


def reworded(prompt: str, said: str) -> str | None:
    """The question in what a model went on with; none if it is no whole question, or the same again."""
    question = said.partition("\n")[0].strip()
    same = "".join(filter(str.isalnum, question)).lower() == "".join(filter(str.isalnum, prompt)).lower()
    return None if same or not question.endswith(("?", ".")) else question
