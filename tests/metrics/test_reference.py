"""The metrics, through the package's scoring, against values that other code computed on the same model (../shared/reference)."""

import json
from pathlib import Path

import pytest
import torch

from expunge.data.prompts import PromptBuilder, collate
from expunge.data.records import Record, Turn
from expunge.metrics.likelihood import (
    each_answer,
    exact_memorization,
    extraction_strength,
    min_k,
    min_k_plus_plus,
    probability,
    probability_with_options,
    truth_ratio,
    zlib_ratio,
)
from expunge.models.scoring import score

SHARED = Path(__file__).parents[3] / "shared"


@pytest.mark.real
@pytest.mark.parametrize(
    ("reference", "rows"),
    [pytest.param("forget10", "forget10_perturbed.jsonl", marks=pytest.mark.long), ("world_facts", "world_facts_perturbed.jsonl")],
)
def test_metrics_agree_with_openunlearning(smollm2, reference, rows):
    path = SHARED / "reference" / f"openunlearning_tofu_{reference}.json"
    if not path.exists():
        pytest.skip("the reference values (../shared/reference) are not here")
    lines = (SHARED / "data" / "tofu" / rows).read_text().splitlines()
    model, tokenizer = smollm2
    builder = PromptBuilder(tokenizer)
    for expected in json.loads(path.read_text()):
        row = json.loads(lines[expected["row"]])
        answer, wrong = row["answer"], row["perturbed_answer"]
        record = Record(str(expected["row"]), (Turn("user", row["question"]),), answer)
        texts = [answer, row.get("paraphrased_answer", answer), *wrong]
        batch = collate([builder.record(record, answer=text) for text in texts], builder.pad)
        with torch.inference_mode():
            scores = score(model, batch, logits=True)
        answer_score, paraphrased, *others = each_answer(scores)
        ended = answer_score.without_end()
        of_own = (scores.rows == 0).nonzero()[:-1, 0]
        got = {
            "prompt_tokens": len(builder.record(record).prompt),
            "answer_tokens": answer_score.tokens,
            "avg_loss": answer_score.loss,
            "prob": probability(answer_score.nll, answer_score.tokens),
            "paraphrased_avg_loss": paraphrased.loss,
            "wrong_avg_losses": [other.loss for other in others],
            "truth_ratio": truth_ratio([other.loss for other in others], paraphrased.loss),
            "prob_w_options": probability_with_options(
                probability(answer_score.nll, answer_score.tokens), [probability(other.nll, other.tokens) for other in others]
            ),
            "exact_memorization": exact_memorization(ended.greedy_match),
            "extraction_strength": extraction_strength(ended.greedy_match, compat=True),
            "min_k_0.4": min_k(ended.token_logprobs, 0.4),
            "min_k++_0.4": min_k_plus_plus(scores.logits[of_own], scores.targets[of_own], 0.4),
            "zlib": zlib_ratio(answer_score.loss, answer),
        }
        assert got == {name: pytest.approx(expected[name], rel=1e-3) for name in got}, f"row {expected['row']}"
