"""What does a long document cost: forget one, and report seconds, tokens a second and the peak of the memory.

    python -m benchmarks.unlearning.document_cost [--tokens 60000] [--text FILE] [--setting NAME=VALUE …] [--write [MARK]]

The document is invented prose, or the beginning of a file. The result is saved in the folder of results.
"""

import argparse
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from benchmarks.common.results import markdown, measured_on, read_or_make, write
from benchmarks.common.with_settings import as_options, parser_with_settings, unlearn_with
from expunge.console import Display
from expunge.data.passages import end_of, token_spans
from expunge.data.people import people
from expunge.data.prompts import PromptBuilder
from expunge.data.records import read_records
from expunge.files import make_folder, write_text
from expunge.gating import fit
from expunge.models.loading import load_tokenizer
from expunge.pipeline import unlearn as unlearning

GIB = 2**20
"""Kilobytes, in which the system reports memory."""
Facts = dict[str, Any]


def main() -> None:
    """Measure and print the table."""
    parser = parser_with_settings(str(__doc__), "runs/document-cost", "document_cost")
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--text", type=Path, help="a file of text; none: invented prose")
    args = parser.parse_args()
    make_folder(args.out)
    facts = cost(args)
    print(json.dumps(facts, indent=1))
    command = f"python -m benchmarks.unlearning.document_cost --tokens {args.tokens}{as_options(args.setting)} --write MARK"
    text = f"{table(facts)}\n\n{measured_on()}; model {args.model}. Command: `{command}`.\n"
    print(text)
    if args.write:
        write(f"<!-- {args.write} -->", text)


def cost(args: argparse.Namespace) -> Facts:
    """Forget a document and return what that took."""
    builder = PromptBuilder(load_tokenizer(args.model))
    given = invented_prose(builder, 2 * args.tokens) if args.text is None else read_records(args.text)[0].answer
    forget, retain = (args.out / f"{name}.txt" for name in ("document", "retain"))
    spans = token_spans(builder, given)
    write_text(forget, given[: end_of(spans, given, args.tokens)])
    write_text(retain, given[end_of(spans, given, args.tokens) :].strip() or invented_prose(builder, args.tokens))
    return {"tokens": min(len(spans), args.tokens), **read_or_make(args.out / "cost.json", lambda: _measured_run(args, forget, retain))}


def _measured_run(args: argparse.Namespace, forget: Path, retain: Path) -> Facts:
    facts: Facts = {"features_seconds": 0.0, "features_tokens": 0, "training_seconds": 0.0}
    read_states, train = fit.prompt_states, unlearning.train

    def timed_states(model: nn.Module, prompts: Sequence[tuple[int, ...]], *rest: Any, **options: Any) -> dict[int, list[Tensor]]:
        started = time.monotonic()
        states = read_states(model, prompts, *rest, **options)
        facts["features_seconds"] += time.monotonic() - started
        facts["features_tokens"] += sum(map(len, prompts))
        facts["features_gib"] = sum(state.nbytes for of_block in states.values() for state in of_block) / 2**30
        return states

    def timed_train(*given: Any, **options: Any) -> None:
        started = time.monotonic()
        train(*given, **options)
        facts["training_seconds"] += time.monotonic() - started

    fit.prompt_states, unlearning.train = timed_states, timed_train
    try:
        run = unlearn_with(args.setting, args.model, forget, retain, args.out / "run", Display())
    finally:
        fit.prompt_states, unlearning.train = read_states, train
    info = run.read_info()
    facts["features_tokens_a_second"] = facts["features_tokens"] / max(facts["features_seconds"], 1e-9)
    facts["peak_memory_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB
    return {**facts, "seconds": info["seconds"], "data": info["data"], "gate": info.get("gate")}


def table(facts: Facts) -> str:
    """Return seconds and memory of a run, in Markdown."""
    features = (
        f"{facts['features_seconds']:.0f} s, {facts['features_tokens_a_second']:.0f} tokens a second, {facts['features_gib']:.2f} GiB"
    )
    rows = {
        "tokens of the document": f"{facts['tokens']}",
        "the whole run": f"{facts['seconds'] / 60:.0f} min",
        f"hidden states of {facts['features_tokens']} tokens of gate prompts": features,
        "training of the edit": f"{facts['training_seconds'] / 60:.0f} min",
        "peak memory": f"{facts['peak_memory_gib']:.1f} GiB",
    }
    return markdown("", ["measured"], {name: [cell] for name, cell in rows.items()})


def invented_prose(builder: PromptBuilder, tokens: int) -> str:
    """Return seeded prose of at least so many tokens: paragraphs about invented people."""
    paragraphs, length, seed = list[str](), 0, 0
    while length < tokens:
        seed += 1
        answers = [record.answer for record in people(20, seed)]
        paragraphs += [" ".join(answers[start : start + 5]) for start in range(0, len(answers), 5)]
        length = len(token_spans(builder, "\n\n".join(paragraphs)))
    return "\n\n".join(paragraphs)


if __name__ == "__main__":
    main()
