"""Metrics of how likely an answer is to a model: pure functions of token log-probabilities."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from statistics import fmean

import torch
from torch import Tensor

from expunge.models.scores import Scores


@dataclass(frozen=True)
class AnswerScore:
    """Scores of one answer under teacher forcing.

    Attributes:
        nll: nats, summed over the answer's tokens (end of turn included).
        tokens: number of those tokens.
        token_logprobs: their log-probabilities in nats, in order.
        greedy_match: whether the most likely token is the answer's, in order.
    """

    nll: float
    tokens: int
    token_logprobs: list[float]
    greedy_match: list[bool]

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood of a token, in nats."""
        return self.nll / self.tokens

    def after(self, tokens: int) -> "AnswerScore":
        """Return the scores without the first so many tokens, which the chat template puts before every answer."""
        if not tokens:
            return self
        logprobs = self.token_logprobs[tokens:]
        return AnswerScore(-sum(logprobs), self.tokens - tokens, logprobs, self.greedy_match[tokens:])

    def without_end(self) -> "AnswerScore":
        """Return the scores without the last token: OpenUnlearning leaves the end of turn out of its token metrics."""
        logprobs = self.token_logprobs[:-1]
        return AnswerScore(-sum(logprobs), self.tokens - 1, logprobs, self.greedy_match[:-1])


def each_answer(scores: Scores) -> list[AnswerScore]:
    """Split the scores of a batch by answer."""
    parts = [part.tolist() for part in (scores.nll, scores.tokens, -scores.token_nll, scores.greedy)]
    answers, start = [], 0
    for nll, tokens in zip(parts[0], parts[1], strict=True):
        place = slice(start, start := start + tokens)
        answers.append(AnswerScore(nll, tokens, parts[2][place], parts[3][place]))
    return answers


def probability(nll: float, tokens: int) -> float:
    """Return the length-normalised probability of an answer, exp(-nll / tokens) (TOFU, Maini et al., 2024, arXiv 2401.06121, §2.2.2).

    Args:
        nll: nats, summed over the answer.
        tokens: its length, at least 1.
    """
    return exp(-nll / tokens)


def probability_with_options(p: float, wrong_ps: Sequence[float]) -> float:
    """Return the share of an answer's probability among the options (TOFU's real authors and world facts).

    Args:
        p: `probability` of the answer.
        wrong_ps: `probability` of each wrong answer.

    Returns:
        The share; 0 when every option's probability is 0.
    """
    total = p + sum(wrong_ps)
    return p / total if total > 0 else 0.0


def truth_ratio(wrong_losses: Sequence[float], paraphrase_loss: float) -> float:
    """Return how likely wrong answers are relative to a paraphrase of the right one (TOFU, eq. 1).

    Args:
        wrong_losses: mean token loss of each wrong answer, in nats; averaged before the exponential.
        paraphrase_loss: mean token loss of the paraphrased answer.

    Returns:
        0 if only the right answer is likely, 1 if right and wrong are equally likely, more if wrong answers are likelier.

    Raises:
        ValueError: if there is no wrong answer.
    """
    # A collapsed model's losses differ by more than the 709 nats at which exp overflows.
    return exp(min(paraphrase_loss - fmean(wrong_losses), 700.0))


def forget_truth_ratio(ratio: float) -> float:
    """Return min(r, 1/r) of a forget record's truth ratio: 1 if right and wrong answers are equally likely."""
    return min(ratio, 1 / ratio) if ratio > 0 else 0.0


def utility_truth_ratio(ratio: float) -> float:
    """Return max(0, 1 - r) of a retain record's truth ratio: 1 if only the right answer is likely."""
    return max(0.0, 1 - ratio)


def exact_memorization(greedy_match: Sequence[bool]) -> float:
    """Return the share of answer tokens that teacher-forced greedy decoding gets right (Tirumala et al., 2022, arXiv 2205.10770).

    Raises:
        ValueError: if the answer has no token.
    """
    return fmean(greedy_match)


def extraction_strength(greedy_match: Sequence[bool], compat: bool = False) -> float:
    """Return 1 - k/|y|, k the shortest true prefix that greedy decoding completes (Carlini, 2021; Wang et al., 2024, arXiv 2406.09179).

    Args:
        greedy_match: for each answer token, whether greedy decoding after the true beginning yields it.
        compat: OpenUnlearning's value, which never falls below 1/|y|; it also leaves the end token out (`AnswerScore.without_end`).

    Returns:
        1 if the prompt alone yields the answer, 0 if not even the last token follows from all others.

    Raises:
        ValueError: if the answer has no token.
    """
    length = len(greedy_match)
    if length == 0:
        raise ValueError("an answer without tokens has no extraction strength")
    suffix = 0
    while suffix < length and greedy_match[length - 1 - suffix]:
        suffix += 1
    return max(suffix, 1 if compat else 0) / length


def min_k(token_logprobs: Sequence[float], share: float = 0.4) -> float:
    """Return the mean negative log-probability of the least likely tokens (Min-K %, Shi et al., 2024, arXiv 2310.16789).

    Args:
        token_logprobs: nats, at least one.
        share: of the tokens to use, rounded down to whole tokens, at least one.
    """
    count = max(1, int(len(token_logprobs) * share))
    return -fmean(sorted(token_logprobs)[:count])


def min_k_plus_plus(logits: Tensor, targets: Tensor, share: float = 0.4) -> float:
    """Return `min_k` of log-probabilities standardised over the vocabulary (Min-K++ %, Zhang et al., 2024, arXiv 2404.02936, eq. 3).

    Args:
        logits: (labels, vocab), of one answer.
        targets: (labels,), its token ids.
        share: of the tokens to use.
    """
    logprobs = logits.float().log_softmax(-1)
    probs = logprobs.exp()
    mean = (probs * logprobs).sum(-1)
    deviation = ((probs * logprobs.square()).sum(-1) - mean.square()).clamp(min=1e-12).sqrt()
    return min_k(((_target_logprobs(logits, targets) - mean) / deviation).tolist(), share)


def zlib_ratio(loss: float, answer: str) -> float:
    """Return the mean token loss per byte of the compressed answer (Carlini et al., 2021, arXiv 2012.07805, §5.1).

    Args:
        loss: nats a token.
        answer: its text.
    """
    return loss / len(zlib.compress(answer.encode()))


def _target_logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the log-probability of each target: (labels,)."""
    return torch.gather(logits.float().log_softmax(-1), 1, targets.unsqueeze(1)).squeeze(1)
