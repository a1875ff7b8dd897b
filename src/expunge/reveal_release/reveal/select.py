"""From what was asked to a forget set: the responses of the best instructions, filtered; the same instructions asked again."""

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import numpy as np
from torch import nn

from expunge.config import RevealSection
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.errors import ExpungeError
from expunge.files import PRIVATE, write_text
from expunge.models.loading import best_device, best_dtype, load
from expunge.oracles.checked import judge_texts
from expunge.reveal_release.reveal.private_files import hash_key, text_hash
from expunge.reveal_release.reveal.responses import Response, kept_responses, up_to
from expunge.reveal_release.reveal.search import AT_ONCE, Asker, Models, search
from expunge.reveal_release.reveal.search_log import Asked, read_log
from expunge.runs.folder import REVEALED, SEARCH_LOG

RESULTS = "results.json"
SHOWN_SCORES = 5


class NothingRevealed(ExpungeError):
    """Too little is left of what the model told."""


def models_of(model: nn.Module, builder: PromptBuilder, settings: RevealSection) -> Models:
    """The target, in the dtype that this machine is fast at, and the generator.

    Raises:
        InputError: the generator cannot be loaded.
    """
    dtype, device = best_dtype(), best_device()
    target = model if next(model.parameters()).dtype == dtype else copy.deepcopy(model).to(dtype)
    target = target.to(device)
    if settings.generator is None:
        return Models(target.eval(), builder, target, builder)
    generator, tokenizer = load(settings.generator, dtype)
    return Models(target.eval(), builder, cast(nn.Module, generator).to(device), PromptBuilder(tokenizer))


def reveal(models: Models, settings: RevealSection, folder: Path, seed: int, display: Display) -> list[Record]:
    """Search, and make a forget set of what the best instructions brought; once made, it is read back.

    Args:
        models: in evaluation mode.
        settings: of the search and of what is kept.
        folder: made; gets the log, the forget set (both for the owner's eyes only) and `results.json`, which has hashes for texts.
        seed: of everything that is drawn.
        display: where progress goes.

    Raises:
        NothingRevealed: too little is left after filtering; the message has the scores.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / REVEALED).exists():
        return read_revealed(folder)
    return _kept(search(models, settings, folder, seed, display), settings, folder)


def resample(
    models: Models, settings: RevealSection, instructions: Sequence[str], folder: Path, seed: int, display: Display
) -> list[Record]:
    """A forget set from new responses to instructions that were found before; arguments and errors as for `reveal`."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / REVEALED).exists():
        return read_revealed(folder)
    asker, asked = Asker(models, settings), list[Asked]()
    with display.bar("Asking again, in sampled responses", settings.samples_per_instruction * len(instructions)) as advance:
        for start in range(0, len(instructions), AT_ONCE):
            some = instructions[start : start + AT_ONCE]
            asked += asker.ask(some, int(np.random.SeedSequence([seed, 22, start]).generate_state(1)[0]))
            advance(settings.samples_per_instruction * len(some))
    return _kept(asked, settings, folder)


def best_of(asked: Sequence[Asked], count: int) -> list[Asked]:
    """The instructions with the highest scores, the first asked first among equals; those that brought nothing are not among them."""
    return [one for one in sorted(asked, key=lambda one: -one.score)[:count] if one.score > 0]


def best_instructions(folder: Path, settings: RevealSection) -> list[str]:
    """The instructions that a finished search found best."""
    return [one.instruction for one in best_of(asked_in(folder), settings.top_k)]


def asked_in(folder: Path) -> list[Asked]:
    """Every instruction that a search has asked, in order."""
    return [one for turns in read_log(folder / SEARCH_LOG) for one in turns.asked.values()]


def read_results(folder: Path) -> dict[str, Any]:
    """What is said of a harvest: `responses`, `kept`, the mean of what the judge says of these (`judged`), `dropped` by reason, `asked`."""
    return json.loads((folder / RESULTS).read_text(encoding="utf-8"))


def read_revealed(folder: Path) -> list[Record]:
    """What `reveal` has left in a folder."""
    # Not by `read_records`: what a model says is kept whatever it looks like. Cut at line feeds alone: JSON strings may hold others.
    rows = [json.loads(line) for line in (folder / REVEALED).read_text(encoding="utf-8").split("\n")[:-1]]
    return [Record(row["id"], (Turn("user", row["prompt"]),), row["answer"], unfinished=row["unfinished"]) for row in rows]


def _kept(asked: Sequence[Asked], settings: RevealSection, folder: Path) -> list[Record]:
    best = best_of(asked, settings.top_k)
    said = [Response(one.instruction, *heard) for one in best for heard in zip(one.responses, one.relevances, strict=True)]
    responses = [up_to(response, settings.truncate_at) for response in said]
    kept, dropped = kept_responses(
        responses,
        min_relevance=settings.min_relevance,
        min_chars=settings.min_chars,
        max_chars=settings.max_chars,
        dedup_threshold=settings.dedup_threshold,
    )
    key = hash_key(folder)
    shown = [
        {**asdict(one), "instruction": text_hash(one.instruction, key), "responses": [text_hash(text, key) for text in one.responses]}
        for one in asked
    ]
    judged = fmean(judge_texts(settings.judge, [one.text for one in kept])) if settings.judge and kept else None
    facts = {"responses": sum(len(one.responses) for one in asked), "kept": len(kept), "judged": judged, "dropped": dropped, "asked": shown}
    write_text(folder / RESULTS, json.dumps(facts, indent=1) + "\n")
    if len(kept) < settings.min_responses:
        scores = ", ".join(f"{one.score:.2f} (relevance {one.relevance:.2f}, diversity {one.diversity:.2f})" for one in best[:SHOWN_SCORES])
        raise NothingRevealed(
            f"{folder}: {len(kept)} responses are left of {facts['responses']} and reveal.min_responses is {settings.min_responses}; "
            f"best instructions: {scores or 'none scored above 0'}; say more precisely what is wanted (with another --out), or raise "
            "data.forget.reveal.budget, which goes on with this search"
        )
    numbered = enumerate(kept, start=1)
    rows = [{"id": f"revealed-{i}", "prompt": one.instruction, "answer": one.text, "unfinished": one.unfinished} for i, one in numbered]
    write_text(folder / REVEALED, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), PRIVATE)
    return read_revealed(folder)
