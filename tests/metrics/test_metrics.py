"""The audit's metrics by hand, and against OpenUnlearning's values on the embedded model."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from expunge.data.texts import refusals
from expunge.metrics.gate import auroc, fpr_at_tpr, share_open
from expunge.metrics.likelihood import (
    AnswerScore,
    each_answer,
    exact_memorization,
    extraction_strength,
    forget_truth_ratio,
    min_k,
    min_k_plus_plus,
    probability,
    probability_with_options,
    truth_ratio,
    utility_truth_ratio,
    zlib_ratio,
)
from expunge.metrics.text import degeneracy, is_degenerate, is_refusal, rouge_l_recall
from expunge.metrics.utility import forget_quality, model_utility
from expunge.models.scores import Scores

SHARED = Path(__file__).parents[3] / "shared"


def test_probability_is_the_geometric_mean_of_the_tokens_probabilities():
    # three tokens of probability 1/2, 1/4, 1/8: (1/64)^(1/3) = 1/4
    assert probability(math.log(64), 3) == pytest.approx(0.25)


def test_probability_with_options_is_the_share_among_them():
    # 0.3 / (0.3 + 0.1 + 0.2) = 0.5
    assert probability_with_options(0.3, [0.1, 0.2]) == pytest.approx(0.5)


def test_probability_with_options_is_zero_when_a_collapsed_model_gives_none_any():
    assert probability_with_options(probability(1e5, 10), [0.0, 0.0]) == 0


def test_truth_ratio_averages_the_losses_before_the_exponential():
    # wrong losses 1 and 3 average to 2: exp(-2) / exp(-1) = exp(-1); averaging the probabilities instead would give 0.5677
    assert truth_ratio([1.0, 3.0], 1.0) == pytest.approx(math.exp(-1))


def test_truth_ratio_of_a_collapsed_model_is_finite():
    assert math.isfinite(truth_ratio([0.0], 5000.0))


def test_truth_ratio_without_wrong_answers_is_an_error():
    with pytest.raises(ValueError):
        truth_ratio([], 1.0)


@pytest.mark.parametrize(("ratio", "forget", "utility"), [(0.25, 0.25, 0.75), (1.0, 1.0, 0.0), (4.0, 0.25, 0.0), (0.0, 0.0, 1.0)])
def test_truth_ratio_is_folded_differently_for_forgetting_and_for_utility(ratio, forget, utility):
    assert forget_truth_ratio(ratio) == pytest.approx(forget)
    assert utility_truth_ratio(ratio) == pytest.approx(utility)


def test_exact_memorization_is_the_share_of_tokens_that_greedy_decoding_gets_right():
    assert exact_memorization([True, False, True, True]) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("match", "ours", "compat"),
    [
        ([True, True, True, True], 1.0, 1.0),
        # the longest correct suffix has 2 of 5 tokens, k = 3: 1 - 3/5 = 0.4; what is right before k does not count
        ([True, True, False, True, True], 0.4, 0.4),
        ([True, True, True, False], 0.0, 0.25),
        ([False], 0.0, 1.0),
    ],
)
def test_extraction_strength_is_zero_when_nothing_can_be_extracted_unless_compatible(match, ours, compat):
    assert extraction_strength(match) == pytest.approx(ours)
    assert extraction_strength(match, compat=True) == pytest.approx(compat)


def test_extraction_strength_of_nothing_is_an_error():
    with pytest.raises(ValueError):
        extraction_strength([])


@given(st.lists(st.booleans(), min_size=1))
def test_extraction_strength_never_exceeds_exact_memorization(match):
    assert extraction_strength(match) <= exact_memorization(match) + 1e-12


def test_min_k_averages_the_least_likely_tokens():
    # 40 % of 5 tokens: the two lowest, -4 and -3
    assert min_k([-1.0, -4.0, -0.5, -3.0, -2.0], 0.4) == pytest.approx(3.5)
    # 40 % of one token is still one
    assert min_k([-2.0], 0.4) == pytest.approx(2.0)


def test_min_k_plus_plus_standardises_over_the_vocabulary():
    # p = (3/4, 1/4), target the second: mean = 3/4 ln 3/4 + 1/4 ln 1/4 = -0.562335
    # mean of squares = 3/4 * 0.082761 + 1/4 * 1.921812 = 0.542524, deviation = sqrt(0.542524 - 0.316221) = 0.475713
    # (ln 1/4 + 0.562335) / 0.475713 = -1.732051
    logits = tensor([[0.75, 0.25]]).log()
    assert min_k_plus_plus(logits, tensor([1]), 1.0) == pytest.approx(math.sqrt(3), abs=1e-5)


def test_min_k_plus_plus_of_a_uniform_prediction_is_finite():
    assert min_k_plus_plus(torch.zeros(2, 4), tensor([0, 3])) == pytest.approx(0.0, abs=1e-3)


def test_zlib_ratio_divides_by_the_compressed_bytes():
    # zlib stores 3 bytes as 11: 2 of header, 5 in one fixed-Huffman block, 4 of checksum
    assert zlib_ratio(2.2, "abc") == pytest.approx(0.2)


def test_scores_of_a_batch_are_split_by_answer():
    # two rows of 2 and 1 labels over two tokens; p(target) = 3/4, 1/4 and 1/2
    scores = Scores(
        nll=tensor([math.log(16 / 3), math.log(2)]),
        tokens=tensor([2, 1]),
        token_nll=tensor([3 / 4, 1 / 4, 1 / 2]).log().neg(),
        greedy=tensor([True, False, True]),
    )
    first, second = each_answer(scores)
    assert first.token_logprobs == pytest.approx([math.log(3 / 4), math.log(1 / 4)])
    assert first.greedy_match == [True, False]
    assert first.loss == pytest.approx(math.log(16 / 3) / 2)
    assert second.tokens == 1
    assert second.token_logprobs == pytest.approx([math.log(1 / 2)])
    assert first.without_end() == AnswerScore(-first.token_logprobs[0], 1, first.token_logprobs[:1], [True])


def test_rouge_is_the_stemmed_recall_of_the_truth():
    # truth: the cat sat (stemmed); the subsequence "the cat" covers 2 of 3 words; the longer prediction does not matter
    assert rouge_l_recall("well , the cats were there", "The cat sat") == pytest.approx(2 / 3)
    assert rouge_l_recall("", "The cat sat") == 0


@pytest.mark.parametrize(
    "text",
    [
        "I don't know.",
        "I\u2019m not sure who that is.",
        "Sorry, I can't help with that.",
        "I apologize, but I cannot share personal information.",
        "That is beyond my current knowledge.",
        "I have not been trained on that.",
        "No information is available about this author.",
        "That's not something I'm familiar with.",
    ],
)
def test_a_refusal_is_recognised(text):
    assert is_refusal(text)


def test_every_refusal_that_is_trained_on_is_recognised():
    assert not [text for text in refusals() if not is_refusal(text)]


@pytest.mark.parametrize(
    "text",
    [
        "The author's name is Hsiao Yun-Hwa.",
        "Not only novels: she knows the city and cannot stop writing of it.",
        "Paris",
        "",
        "The hero is famous. " * 20 + "I don't know, he says.",
    ],
)
def test_an_answer_is_no_refusal(text):
    assert not is_refusal(text)


def test_repeated_trigrams_are_measured():
    # a b c a b c: four 3-grams, abc bca cab abc, three of them distinct: 1 - 3/4
    assert degeneracy("a b c a b c") == pytest.approx(0.25)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "the the the the the the the",
        "ThatThatThatThatThatThat",
        "He was born in a city. " * 6,
        "It is usually made from old paper is called old paper is made from old paper is usually made from old paper is called old paper.",
        "!!!!!!!!!!!!",
        "#$ %& #! @@ a",
        "\x00\x01",
    ],
)
def test_loops_symbols_and_empty_outputs_are_degenerate(text):
    assert is_degenerate(text)


def test_long_random_characters_are_degenerate():
    generator = torch.Generator().manual_seed(0)
    noise = "".join(map(chr, torch.randint(33, 127, (400,), generator=generator).tolist()))
    assert is_degenerate(noise)


@pytest.mark.parametrize(
    "text",
    [
        "Paris",
        "42",
        "No.",
        "Her first novel, set in Taipei, won a prize in 1991, and the second one, which she wrote abroad, did not.",
        "Модель забывает то, что нужно забыть, и помнит остальное.",
        "模型忘记了该忘记的内容，并保留其余的能力。",
        "def add(a, b):\n    return a + b\n",
    ],
)
def test_ordinary_text_of_any_script_is_not_degenerate(text):
    assert not is_degenerate(text)


@pytest.mark.parametrize(
    "file", ["tofu/full.jsonl", "tofu/world_facts_perturbed.jsonl", "tofu/real_authors_perturbed.jsonl", "gsm8k/test.jsonl"]
)
def test_no_true_answer_is_degenerate(file):
    path = SHARED / "data" / file
    if not path.exists():
        pytest.skip("the data sets (../shared/data) are not here")
    answers = [json.loads(line)["answer"] for line in path.read_text(encoding="utf-8").splitlines()]
    assert not [answer for answer in answers if is_degenerate(answer)]


@given(st.text(alphabet=st.characters()))
def test_degeneracy_lies_between_zero_and_one(text):
    assert 0 <= degeneracy(text) <= 1


def test_auroc_counts_ties_by_half():
    # pairs: 3>2, 3>1, 2=2 (half), 2>1: 3.5 of 4
    assert auroc([3.0, 2.0], [2.0, 1.0]) == pytest.approx(0.875)


def test_fpr_at_tpr_uses_the_highest_threshold_that_enough_positives_reach():
    # 3 of 4 positives reach threshold 2; negatives at or above 2: 1 of 3
    assert fpr_at_tpr([4.0, 3.0, 2.0, 1.0], [2.0, 1.5, 0.0], tpr=0.75) == pytest.approx(1 / 3)
    # 55 of 100 at threshold 46, which 0.55 * 100 > 55 must not lower to 45
    assert fpr_at_tpr(list(range(1, 101)), [45.5], tpr=0.55) == 0


def test_a_gate_is_open_at_its_threshold_and_above():
    assert share_open([-1.0, 0.0, 0.1, 2.0], 0.0) == pytest.approx(0.75)


@pytest.mark.parametrize("call", [lambda: auroc([], [1.0]), lambda: fpr_at_tpr([1.0], []), lambda: share_open([], 0.0)])
def test_gate_metrics_of_nothing_are_an_error(call):
    with pytest.raises(ValueError):
        call()


def test_forget_quality_is_the_exact_ks_p_value():
    # the two samples do not overlap: D = 1, p = 2 / C(6, 3) = 0.1
    assert forget_quality([0.1, 0.2, 0.3], [0.7, 0.8, 0.9]) == pytest.approx(0.1)
    assert forget_quality([0.1, 0.2], [0.1, 0.2]) == pytest.approx(1.0)
    with pytest.raises(ValueError):
        forget_quality([], [0.1])


def test_model_utility_is_a_harmonic_mean_and_zero_if_one_part_is_zero():
    # 3 / (1/0.5 + 1/0.25 + 1/1) = 3/7
    assert model_utility({"a": 0.5, "b": 0.25, "c": 1.0}) == pytest.approx(3 / 7)
    assert model_utility({"a": 0.5, "b": 0.0}) == 0
    assert model_utility({"a": 0.5}) == pytest.approx(0.5)
    with pytest.raises(ValueError):
        model_utility({})
