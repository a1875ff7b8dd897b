"""Compare the speed of the audit's likelihood metrics with one forward pass per candidate answer, and check that the values agree.

    python -m benchmarks.audit.speed --tofu DIR [--questions 400] [--json FILE]

DIR holds TOFU's forget10_perturbed.jsonl. A question has up to seven candidates: its answer, the paraphrased answer and five wrong ones.
`batched` gives every candidate a forward pass over prompt and answer in batches as large as the audit's, sorted by length;
`single` uses a batch for each candidate, on about forty of the questions. Both compute the logits of all positions.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from benchmarks.common.results import measured_on
from expunge.auditing.record_metrics import Row, Settings, alone, candidates, record_rows
from expunge.data.prompts import Encoded, PromptBuilder, batches_by_length, collate
from expunge.data.records import Record, read_records
from expunge.metrics.likelihood import truth_ratio
from expunge.models.loading import load


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tofu", type=Path, required=True, help="folder with TOFU's forget10_perturbed.jsonl")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    args = parser.parse_args()
    model, tokenizer = load(args.model)
    builder = PromptBuilder(tokenizer)
    records = read_records(args.tofu / "forget10_perturbed.jsonl")[: args.questions]
    some = records[:: max(1, len(records) // 40)]
    measured(model, builder, some[:4], args.batch_size)
    results: dict[str, Any] = {}
    for name, chosen, size in (("batched", records, args.batch_size), ("single", some, 1)):
        audit_seconds, rows = measured(model, builder, chosen, args.batch_size)
        single_seconds, nll = one_pass_each(model, builder, chosen, size)
        results[name] = {"audit_s": audit_seconds, "one_pass_each_s": single_seconds, "ratio": single_seconds / audit_seconds}
        results[name] |= {"questions": len(chosen), "largest_difference": difference(builder, chosen, rows, nll)}
        print(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in results[name].items()), flush=True)
    print(measured_on())
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def measured(model: nn.Module, builder: PromptBuilder, records: list[Record], batch_size: int) -> tuple[float, list[Row]]:
    """Return the seconds for all metrics without generated text, and the rows."""
    started = time.perf_counter()
    rows = record_rows(alone(model, builder), records, [False] * len(records), Settings(0, batch_size, False), lambda done: None)[0]
    return time.perf_counter() - started, rows


@torch.no_grad()
def one_pass_each(model: nn.Module, builder: PromptBuilder, records: list[Record], size: int) -> tuple[float, list[float]]:
    """Return the seconds, and the summed NLL of every candidate of every record."""
    rows = every_candidate(builder, records)
    nll = [0.0] * len(rows)
    started = time.perf_counter()
    for chosen in batches_by_length([(*row.prompt, *row.answer) for row in rows], size):
        batch = collate([rows[i] for i in chosen], builder.pad)
        logits = cast(Any, model)(batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids).logits
        logp = logits[:, :-1].log_softmax(-1).gather(-1, batch.input_ids[:, 1:, None])[..., 0]
        summed = -(logp[:, batch.prompt_length - 1 :] * batch.labelled).sum(-1)
        for i, value in zip(chosen, summed.tolist(), strict=True):
            nll[i] = value
    return time.perf_counter() - started, nll


def difference(builder: PromptBuilder, records: list[Record], rows: list[Row], nll: list[float]) -> float:
    """Return the largest relative difference of an answer's NLL, or of a truth ratio, from those of the single passes."""
    gaps, given = [], iter(zip(every_candidate(builder, records), nll, strict=True))
    for record, row in zip(records, rows, strict=True):
        of_record = [next(given) for _ in candidates(builder, record, builder.record(record).answer)]
        gaps.append(abs(row["nll"] / of_record[0][1] - 1))
        if len(of_record) > 1:
            paraphrase, *wrong = (value / len(encoded.answer) for encoded, value in of_record[1:])
            gaps.append(abs(row["truth_ratio"] / truth_ratio(wrong, paraphrase) - 1))
    return max(gaps)


def every_candidate(builder: PromptBuilder, records: list[Record]) -> list[Encoded]:
    """Return one row for each candidate of each record."""
    encoded = [builder.record(record) for record in records]
    return [
        Encoded(row.prompt, answer)
        for record, row in zip(records, encoded, strict=True)
        for answer in candidates(builder, record, row.answer)
    ]


if __name__ == "__main__":
    main()
