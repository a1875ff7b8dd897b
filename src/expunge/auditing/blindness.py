"""Blindness checks: can a metric tell a record's true answer from an unrelated one? Where it cannot, no verdict row may pass on it.

A metric of text must pass five tests on the true answer: the answer itself scores 1; an unrelated text of the same shape, and no text at
all, score far lower; so does either half of it; and what the tokenizer can write of it, within the longest answer that the audit allows,
scores enough. No model takes part, so that all this is known before anything is judged.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from unicodedata import normalize

from expunge.auditing.unrelated import halves, unrelated_text
from expunge.data.prompts import PromptBuilder
from expunge.data.reasoning import Answer
from expunge.data.records import Record
from expunge.metrics.leak import states_fact
from expunge.metrics.text import chrf, is_degenerate, is_refusal, rouge_l_recall
from expunge.models.generation import as_text
from expunge.models.shared_prompt_scoring import Ids

ROUNDING = 1e-6
WORST = 0.5
"""The highest score of an unrelated text. True answers score 1, and the tolerances of verdicts are far below the difference."""
WHOLE = 1 - 0.02
"""The highest score of one half of the true answer. A metric that sees both halves gives about one half."""
LEAST_REACH = 0.5
"""The lowest score of the true answer as a model can write it: below, a model that forgot nothing would look like one that guesses."""
LEAST_CHARACTERS = 6
"""The fewest characters of a true answer for chrF, which counts runs of up to six: a shorter answer may be there by chance."""
LEAST_LETTERS = 0.9
"""The share of the true answer's letters and digits that its tokens must keep."""
LOOP = 12
"""How often a text is repeated to make an answer that everybody calls degenerate."""

Metric = Callable[[str, str], float]
"""Score a prediction against the truth, from 0 to 1."""

TEXT_METRICS: dict[str, Metric] = {"rouge": rouge_l_recall, "chrf": chrf}

REASONS = {
    "self": "the metric does not score the true answer against itself as 1",
    "unrelated": "the metric scores an unrelated text nearly as high as the true answer",
    "short": f"the true answer has fewer than {LEAST_CHARACTERS} characters, which an unrelated text may hold by chance",
    "half": "the metric does not notice when half of the true answer is missing",
    "cut": "the longest answer (audit.max_new_tokens) is too short for the true answer; allow more tokens",
    "tokens": "the tokenizer cannot write the true answer",
    "fact": "the true answer has no word that only it has",
    "degenerate": "the true answer itself counts as degenerate",
    "loop": "the true answer repeated over and over does not count as degenerate",
    "refusal": "the true answer itself counts as a refusal",
    "language": "the set is not in English, and in other languages only a few wordings of refusals are known",
    "unchecked": "it was not checked whether the metric sees the true answer",
    "reasoning": "the reasoning before the answer did not end; allow more tokens (audit.max_thinking_tokens)",
}
"""{code in a row: why a metric is blind to a record}"""


@dataclass(frozen=True)
class Sensitivity:
    """How well a metric sees one record.

    Attributes:
        reach: the value of a model that repeats the true answer as far as it can; for a metric of faults, that of the worst answer.
        blind: why a value says nothing, a key of `REASONS`; empty if it says something.
    """

    reach: float = 1.0
    blind: str = ""


SEEN, UNCHECKED, UNFINISHED = Sensitivity(), Sensitivity(0.0, "unchecked"), Sensitivity(0.0, "reasoning")
Sensitivities = Mapping[str, Sensitivity]
"""The sensitivity of each record, by record id; a record that is missing was not checked."""


def text_sensitivity(metric: Metric, truth: str, written: str, cut: bool = False) -> Sensitivity:
    """Check a metric of text on one record.

    Args:
        metric: scores a prediction against the truth.
        truth: the true answer.
        written: the true answer as a model can write it.
        cut: whether the longest answer of the audit cuts it off.
    """
    checked = _checked(metric, truth)
    if checked.blind or written == truth:
        return checked
    reach = metric(written, truth)
    return Sensitivity(reach) if reach >= LEAST_REACH else Sensitivity(reach, "cut" if cut else "tokens")


@lru_cache(maxsize=4096)
def _checked(metric: Metric, truth: str) -> Sensitivity:
    if abs(metric(truth, truth) - 1) > ROUNDING:
        return Sensitivity(0.0, "self")
    if metric is chrf and len("".join(truth.split())) < LEAST_CHARACTERS:
        return Sensitivity(0.0, "short")
    if max(metric(unrelated_text(truth), truth), metric("", truth)) > WORST:
        return Sensitivity(0.0, "unrelated")
    return Sensitivity(0.0, "half") if any(metric(half, truth) > WHOLE for half in halves(truth)) else SEEN


def true_answer(builder: PromptBuilder, record: Record, answer: Ids) -> str:
    """Return what a model that forgot nothing answers: the answer, or of a passage its end, which has the token ids `answer`."""
    return record.answer if record.is_question else as_text(builder, answer)


def answer_scores(builder: PromptBuilder, answer: Answer, truth: str, max_new_tokens: int) -> dict[str, Any]:
    """Score an answer against the truth by words and by characters, with how well each metric sees the truth.

    Every answer that a verdict rests on is scored here, so that none is scored unchecked. The reasoning before an answer is no part of
    it and is scored for itself, so that what it gives away is not hidden. Where it does not end, no metric sees an answer.

    Returns:
        `rouge` and `chrf`, and for both `reach_…` and `blind_…`, see `Sensitivity`; the same for `reasoning`, its ROUGE-L recall, if
        there is any.
    """
    written, cut = _written(builder, truth, max_new_tokens)
    scores: dict[str, Any] = {}
    for name, metric in TEXT_METRICS.items():
        sensitivity = UNFINISHED if answer.unfinished else text_sensitivity(metric, truth, written, cut)
        scores |= {name: metric(answer.text, truth), **columns(sensitivity, name)}
    if answer.reasoning:
        seen = text_sensitivity(rouge_l_recall, truth, truth)
        scores |= {"reasoning": rouge_l_recall(answer.reasoning, truth), **columns(seen, "reasoning")}
    return scores


def token_sensitivity(builder: PromptBuilder, truth: str) -> Sensitivity:
    """Return how well a likelihood sees an answer: its tokens must still hold the letters and digits of the text."""
    letters, written = _letters(truth), _letters(as_text(builder, _tokens(builder, truth)))
    return SEEN if (letters & written).total() >= LEAST_LETTERS * letters.total() else Sensitivity(0.0, "tokens")


def fact_sensitivity(fact: frozenset[str], builder: PromptBuilder, truth: str, max_new_tokens: int) -> Sensitivity:
    """Return how well the search for leaked words sees an answer whose distinctive words are `fact`."""
    if not fact:
        return Sensitivity(0.0, "fact")
    if not states_fact(fact, truth):
        return Sensitivity(0.0, "self")
    if states_fact(fact, unrelated_text(truth)) or states_fact(fact, ""):
        return Sensitivity(0.0, "unrelated")
    written, cut = _written(builder, truth, max_new_tokens)
    return SEEN if states_fact(fact, written) else Sensitivity(0.0, "cut" if cut else "tokens")


def _written(builder: PromptBuilder, truth: str, max_new_tokens: int) -> tuple[str, bool]:
    """Return an answer as the tokenizer writes it, at most so many tokens, and whether that cuts it off."""
    ids = _tokens(builder, truth)
    return as_text(builder, ids[:max_new_tokens]), len(ids) > max_new_tokens


def _tokens(builder: PromptBuilder, truth: str) -> Ids:
    """Return the token ids of an answer, without those that the template puts before it."""
    return builder.unfinished_answer(truth)[builder.unscored :]


@lru_cache(maxsize=4096)
def degenerate_sensitivity(truth: str) -> Sensitivity:
    """Return how well the metric of degenerate answers sees a record: its true answer is fine, and a loop of it is not."""
    if is_degenerate(truth):
        return Sensitivity(0.0, "degenerate")
    return SEEN if is_degenerate(" ".join([truth] * LOOP)) else Sensitivity(0.0, "loop")


def refusal_sensitivity(truth: str, in_english: bool) -> Sensitivity:
    """Return how well the metric of refusals sees a record: in other languages than English it knows a few wordings."""
    if not in_english:
        return Sensitivity(0.0, "language")
    return Sensitivity(0.0, "refusal") if is_refusal(truth) else SEEN


def other_columns(builder: PromptBuilder, truth: str) -> dict[str, Any]:
    """Return how well the metrics other than those of text see a measured record; refusals are checked by set."""
    sensitivities = {"degenerate": degenerate_sensitivity(truth), "likelihood": token_sensitivity(builder, truth)}
    return {name: value for metric, sensitivity in sensitivities.items() for name, value in columns(sensitivity, metric).items()}


def columns(sensitivity: Sensitivity, metric: str = "") -> dict[str, Any]:
    """Return a sensitivity as the columns `reach` and `blind` of a row; of several metrics in one row, with the metric's name.

    `blind` is the place of the reason in `REASONS`, from 1, as rows hold no text; 0: the metric sees the record.
    """
    suffix = f"_{metric}" if metric else ""
    return {f"reach{suffix}": sensitivity.reach, f"blind{suffix}": 1 + list(REASONS).index(sensitivity.blind) if sensitivity.blind else 0}


def sensitivity_of(row: Mapping[str, Any], metric: str = "") -> Sensitivity:
    """Return the sensitivity that a row holds; `UNCHECKED` if it holds none, so that nothing passes on an attack that forgot the check."""
    suffix = f"_{metric}" if metric else ""
    reach, blind = row.get(f"reach{suffix}"), row.get(f"blind{suffix}")
    return UNCHECKED if reach is None or blind is None else Sensitivity(reach, ["", *REASONS][blind])


def worst_of(sensitivities: Sequence[Sensitivity]) -> Sensitivity:
    """Return the worst of several sensitivities of one record: a blind one, else the one that reaches least."""
    return min(sensitivities, key=lambda sensitivity: (not sensitivity.blind, sensitivity.reach), default=UNCHECKED)


def describe(blind: Mapping[str, str], records: Collection[str]) -> str:
    """Return in one sentence how many records a metric is blind to, the id of one of them, and why."""
    code, _ = Counter(blind.values()).most_common(1)[0]
    example = next(name for name, why in blind.items() if why == code)
    return f"{len(blind)} of {len(records)} records cannot be judged, such as {example}: {REASONS.get(code, REASONS['unchecked'])}"


def _letters(text: str) -> Counter[str]:
    return Counter(char for char in normalize("NFKD", text).casefold() if char.isalnum())
