"""Multiple-choice accuracy by option letters and by option texts, computed as lm-evaluation-harness does."""

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
"""Turns a question into its prompt, the continuations to score, and the divisor of each continuation's log-likelihood."""


def by_letters(question: Question) -> tuple[str, list[str], list[int]]:
    """List the options and score their letters, as MMLU and WMDP do (Hendrycks et al., 2021, arXiv 2009.03300)."""
    options = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, question.choices, strict=False)]
    prompt = "\n".join((question.question.strip(), *options, "Answer:"))
    return prompt, [f" {letter}" for letter in LETTERS[: len(options)]], [1] * len(options)


def by_text(question: Question) -> tuple[str, list[str], list[int]]:
    """Score each option's text per character, as ARC does (Clark et al., 2018, arXiv 1803.05457; `acc_norm`)."""
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
    """Return the summed NLL of each option, in nats: one tensor, (options,), for each question.

    Args:
        model: a causal LM, with or without edits.
        tokenizer: the model's; prompts are plain text without the chat template, as in the harness.
        questions: the questions to score.
        form: `by_letters` or `by_text`.
        pad: padding token id.
        batch_size: questions at once, in order of length.
        advance: called with the number of questions done.
    """
    prompts, options = [], []
    for question in questions:
        prompt, continuations, _ = form(question)
        start = tuple(tokenizer(prompt).input_ids)
        prompts.append(start)
        # Prompt and option are encoded together and then cut: the prompt's last token may differ where an option follows.
        options.append([tuple(tokenizer(prompt + text).input_ids[len(start) :]) for text in continuations])
    results = [torch.empty(0)] * len(questions)
    for batch in batches_by_length(prompts, batch_size):
        nll = score_answers(model, read_prompts(model, [prompts[i] for i in batch], pad), [options[i] for i in batch], pad).nll.cpu()
        for i, question_nll in zip(batch, nll.split([len(options[i]) for i in batch]), strict=True):
            results[i] = question_nll
        advance(len(batch))
    return results


def is_right(question: Question, form: Form, nll: Tensor) -> bool:
    """Return whether the right option is the likeliest; nll: (options,), each divided by the form's divisor."""
    return int((nll / torch.tensor(form(question)[2])).argmin()) == question.answer
