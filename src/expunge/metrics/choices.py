"""Multiple-choice accuracy by option letters and by option texts, as lm-evaluation-harness counts it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from expunge.data.prompts import batches_by_length
from expunge.data.questions import Question
from expunge.models.prompt_cache import read_prompts
from expunge.models.shared_prompt_scoring import score_answers

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


Form = Callable[[Question], tuple[str, list[str], list[int]]]
"""Gives a question's prompt, what may follow it, and what each option's log-likelihood is divided by."""


def by_letters(question: Question) -> tuple[str, list[str], list[int]]:
    """MMLU's and WMDP's way (Hendrycks et al., 2021, arXiv 2009.03300): the options are listed, the letters are scored."""
    options = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, question.choices, strict=False)]
    prompt = "\n".join((question.question.strip(), *options, "Answer:"))
    return prompt, [f" {letter}" for letter in LETTERS[: len(options)]], [1] * len(options)


def by_text(question: Question) -> tuple[str, list[str], list[int]]:
    """ARC's way (Clark et al., 2018, arXiv 1803.05457): each option's text is scored, per character (`acc_norm`)."""
    return f"Question: {question.question}\nAnswer:", [f" {choice}" for choice in question.choices], list(map(len, question.choices))


def option_nll(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    form: Form,
    pad: int,
    batch_size: int = 16,
    advance: Callable[[int], None] = lambda rows: None,
) -> list[Tensor]:
    """Summed NLL of each option of each question: (options,) each, nats.

    Args:
        model: a causal LM, with or without edits.
        tokenizer: its own; prompts are plain text, without the chat template, as in the harness.
        questions: to ask.
        form: `by_letters` or `by_text`.
        pad: padding token id.
        batch_size: questions at once; they are taken in order of length.
        advance: called with the number of questions done.
    """
    prompts, options = [], []
    for question in questions:
        prompt, follow, _ = form(question)
        start = tuple(tokenizer(prompt).input_ids)
        prompts.append(start)
        # Both together are encoded and cut: the last token of a prompt may end otherwise before an option.
        options.append([tuple(tokenizer(prompt + text).input_ids[len(start) :]) for text in follow])
    found = [torch.empty(0)] * len(questions)
    for batch in batches_by_length(prompts, batch_size):
        nll = score_answers(model, read_prompts(model, [prompts[i] for i in batch], pad), [options[i] for i in batch], pad).nll.cpu()
        for i, own in zip(batch, nll.split([len(options[i]) for i in batch]), strict=True):
            found[i] = own
        advance(len(batch))
    return found


def is_right(question: Question, form: Form, nll: Tensor) -> bool:
    """Whether the right option is the likeliest, each divided as the form says; nll: (options,)."""
    return int((nll / torch.tensor(form(question)[2])).argmin()) == question.answer
