"""Select a forget set from a search: the filtered responses of the best instructions, or new responses to the same instructions."""

import copy
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from torch import nn

from expunge.config import RevealSection
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.documents import read_json
from expunge.errors import ExpungeError
from expunge.files import PRIVATE_FOLDER, make_folder, write_text
from expunge.models.finite import json_text
from expunge.models.loading import load
from expunge.models.placement import Placement, fast_dtype, placement_of
from expunge.models.quantised import quantisation_of
from expunge.oracles.checked import judge_texts
from expunge.reveal_release.reveal.private_files import hash_key, text_hash
from expunge.reveal_release.reveal.responses import Dropped, Response, filter_responses, truncate
from expunge.reveal_release.reveal.search import MAX_PROPOSED, Evaluator, SearchModels, search
from expunge.reveal_release.reveal.search_log import Query, read_log
from expunge.runs.folder import REVEALED, SEARCH_LOG
from expunge.runs.generated import read_revealed, write_rows

RESULTS = "results.json"
REWARDS_IN_ERROR = 5


class NothingRevealed(ExpungeError):
    """Too few responses pass the filters."""


def search_models(model: nn.Module, builder: PromptBuilder, settings: RevealSection) -> SearchModels:
    """Return the target, in the dtype in which this machine is fast, and the generator.

    Raises:
        InputError: the generator cannot be loaded.
    """
    place = placement_of(model)
    placement = Placement(place.device, fast_dtype(place.device))
    # A quantised model cannot be brought to another dtype.
    as_it_is = place.dtype == placement.dtype or quantisation_of(model) is not None
    target = model if as_it_is else copy.deepcopy(model).to(placement.dtype)
    if settings.generator is None:
        return SearchModels(target.eval(), builder, target, builder)
    generator, tokenizer = load(settings.generator, placement)
    return SearchModels(target.eval(), builder, generator, PromptBuilder(tokenizer))


def reveal(models: SearchModels, settings: RevealSection, folder: Path, seed: int, display: Display) -> list[Record]:
    """Search, and select a forget set from the responses of the best instructions; an existing forget set is read back.

    Args:
        models: in evaluation mode.
        settings: of the search and the filters.
        folder: created; gets the log and the forget set, which only the owner may read, and `results.json`, with hashes of texts.
        seed: determines all sampling.
        display: where progress goes.

    Raises:
        NothingRevealed: too few responses pass the filters; the message has the rewards.
    """
    make_folder(folder, PRIVATE_FOLDER)
    if (folder / REVEALED).exists():
        return read_revealed(folder)
    return _select(search(models, settings, folder, seed, display), settings, folder)


def resample(
    models: SearchModels, settings: RevealSection, instructions: Sequence[str], folder: Path, seed: int, display: Display
) -> list[Record]:
    """Select a forget set from new responses to known instructions; arguments and errors are those of `reveal`."""
    make_folder(folder, PRIVATE_FOLDER)
    if (folder / REVEALED).exists():
        return read_revealed(folder)
    evaluator, queries = Evaluator(models, settings), list[Query]()
    with display.bar("Sampling new responses", settings.samples_per_instruction * len(instructions)) as advance:
        for start in range(0, len(instructions), MAX_PROPOSED):
            batch = instructions[start : start + MAX_PROPOSED]
            queries += evaluator.query(batch, int(np.random.SeedSequence([seed, 22, start]).generate_state(1)[0]))
            advance(settings.samples_per_instruction * len(batch))
    return _select(queries, settings, folder)


def top_queries(queries: Sequence[Query], count: int) -> list[Query]:
    """Return the queries with the highest rewards, those above 0 only; among equals the earlier comes first."""
    return [query for query in sorted(queries, key=lambda query: -query.reward)[:count] if query.reward > 0]


def top_instructions(folder: Path, settings: RevealSection) -> list[str]:
    """Return the instructions with the highest rewards of a finished search."""
    return [query.instruction for query in top_queries(read_queries(folder), settings.top_k)]


def read_queries(folder: Path) -> list[Query]:
    """Return all queries of a search, in order."""
    return [query for step in read_log(folder / SEARCH_LOG) for query in step.queries.values()]


def read_results(folder: Path) -> dict[str, Any]:
    """Return what `reveal` has written about its selection.

    Returns:
        `responses`: number sampled; `selected`: number in the forget set; `dropped`: numbers by reason; `judge_relevance`: the mean
        relevance of the selected responses by the judge, None without one; `queries`: rewards, and hashes of the texts.
    """
    return read_json(folder / RESULTS, dict[str, Any])


def _select(queries: Sequence[Query], settings: RevealSection, folder: Path) -> list[Record]:
    selected, dropped = filter_responses(
        truncate(_responses(top_queries(queries, settings.top_k)), settings.truncate_at),
        min_relevance=settings.min_relevance,
        min_chars=settings.min_chars,
        max_chars=settings.max_chars,
        dedup_threshold=settings.dedup_threshold,
    )
    _write_results(queries, selected, dropped, settings, folder)
    if len(selected) < settings.min_responses:
        raise NothingRevealed(_too_few(queries, len(selected), settings, folder))
    rows = [
        {"id": f"revealed-{i}", "prompt": response.instruction, "answer": response.text, "unfinished": response.unfinished}
        for i, response in enumerate(selected, start=1)
    ]
    write_rows(folder / REVEALED, rows)
    return read_revealed(folder)


def _responses(queries: Sequence[Query]) -> list[Response]:
    return [
        Response(query.instruction, text, relevance)
        for query in queries
        for text, relevance in zip(query.responses, query.relevances, strict=True)
    ]


def _write_results(queries: Sequence[Query], selected: Sequence[Response], dropped: Dropped, settings: RevealSection, folder: Path) -> None:
    key = hash_key(folder)
    hashed = [
        {**asdict(query), "instruction": text_hash(query.instruction, key), "responses": [text_hash(text, key) for text in query.responses]}
        for query in queries
    ]
    judge_relevance = fmean(judge_texts(settings.judge, [response.text for response in selected])) if settings.judge and selected else None
    results = {
        "responses": sum(len(query.responses) for query in queries),
        "selected": len(selected),
        "judge_relevance": judge_relevance,
        "dropped": dropped,
        "queries": hashed,
    }
    write_text(folder / RESULTS, json_text(results, str(folder / RESULTS), indent=1) + "\n")


def _too_few(queries: Sequence[Query], selected: int, settings: RevealSection, folder: Path) -> str:
    rewards = ", ".join(
        f"{query.reward:.2f} (relevance {query.relevance:.2f}, diversity {query.diversity:.2f})"
        for query in top_queries(queries, settings.top_k)[:REWARDS_IN_ERROR]
    )
    return (
        f"{folder}: {selected} of {sum(len(query.responses) for query in queries)} responses pass the filters, "
        f"and data.forget.reveal.min_responses is {settings.min_responses}; highest rewards: {rewards or 'none above 0'}; describe the "
        "topics more precisely (with another --out), or raise data.forget.reveal.budget, which continues this search"
    )
