"""Search for instructions that make a model reveal what must be forgotten: propose, query, score, observe (after arXiv 2310.02905)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from expunge.config import RevealSection
from expunge.config.reveal import SLOT
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Turn
from expunge.files import write_bytes
from expunge.metrics.diversity import set_reward
from expunge.models.blocks import check_room
from expunge.models.finite import check_finite
from expunge.models.generation import generate, nucleus_sampler
from expunge.oracles.checked import diversity_of, judge_texts
from expunge.oracles.embedders import Embedder, StateEmbedder
from expunge.reveal_release.reveal.bandit import NeuralUCB
from expunge.reveal_release.reveal.candidates import (
    MAX_INSTRUCTION_TOKENS,
    Pool,
    clean_instruction,
    generate_from_candidates,
    pool_features,
    soft_prompts,
    write_instructions,
)
from expunge.reveal_release.reveal.gepa import gepa_search
from expunge.reveal_release.reveal.search_log import Query, SearchLog, Step
from expunge.reveal_release.reveal.searchers import RandomSearch, Searcher, SequentialSearch
from expunge.runs.folder import FEATURES, SEARCH_LOG

MAX_PROPOSED = 8
"""Largest number of instructions queried in one step."""
BATCH_SIZE = 64


@dataclass(frozen=True)
class SearchModels:
    """The models of a search.

    Attributes:
        target, builder: the model that is queried, and its prompt builder.
        generator, generator_builder: the model that writes the instructions, and its prompt builder; often the target itself.
    """

    target: nn.Module
    builder: PromptBuilder
    generator: nn.Module
    generator_builder: PromptBuilder


class Evaluator:
    """Queries the target: samples its responses and computes their reward."""

    def __init__(self, models: SearchModels, settings: RevealSection):
        """Check that oracles and embedder work, before anything is sampled.

        Raises:
            InputError: a file or package that they need is missing.
        """
        self.models, self.settings = models, settings
        self._embedder: Embedder = settings.embedder or StateEmbedder(models.target, models.builder)
        self._embedder.embed(["a text"])
        for oracle in filter(None, (settings.oracle, settings.judge)):
            judge_texts(oracle, ["a text"])

    def query(self, instructions: Sequence[str], seed: int) -> list[Query]:
        """Query the target with instructions."""
        builder, count = self.models.builder, self.settings.samples_per_instruction
        prompts = [builder.prompt((Turn("user", text),)) for text in instructions for _ in range(count)]
        sampler = nucleus_sampler(seed, self.settings.temperature)
        responses = generate(self.models.target, builder, prompts, self.settings.max_new_tokens, BATCH_SIZE, sampler=sampler)
        return self._scored(instructions, responses)

    def query_soft_prompts(self, pool: Pool, candidates: Sequence[int], seed: int) -> list[Query]:
        """Query the target with soft prompts themselves."""
        repeated = [candidate for candidate in candidates for _ in range(self.settings.samples_per_instruction)]
        sampler = nucleus_sampler(seed, self.settings.temperature)
        target, builder = self.models.target, self.models.builder
        responses = generate_from_candidates(target, builder, pool, repeated, self.settings.max_new_tokens, sampler)
        return self._scored([pool.text(i) for i in candidates], responses)

    def _scored(self, instructions: Sequence[str], responses: Sequence[str]) -> list[Query]:
        count, queries = self.settings.samples_per_instruction, []
        all_relevances = judge_texts(self.settings.oracle, responses)
        for i, instruction in enumerate(instructions):
            texts, relevances = responses[i * count : (i + 1) * count], all_relevances[i * count : (i + 1) * count]
            diversity = diversity_of(self._embedder, texts)
            relevance = sum(relevances) / count
            reward = set_reward(relevance, diversity, self.settings.diversity_weight)
            tokens = sum(len(self.models.builder.answer(text)) for text in texts)
            queries.append(Query(instruction, tuple(texts), tuple(relevances), relevance, diversity, reward, tokens))
        return queries


def search(models: SearchModels, settings: RevealSection, folder: Path, seed: int, display: Display) -> list[Query]:
    """Query until the budget is spent or no candidate is left; after an interruption the same call resumes after the last logged step.

    Args:
        models: in evaluation mode.
        settings: of the search.
        folder: gets the log, which only the owner may read, and the pool's features.
        seed: determines all sampling.
        display: where progress goes.

    Returns:
        All queries, in order.

    Raises:
        InputError: the oracle or the searcher lacks a file or a package, or a prompt is longer than a model's context.
        ExpungeError: the log in the folder is of another search.
    """
    _check_lengths(models, settings)
    evaluator = Evaluator(models, settings)
    pool = make_pool(models, settings, seed)
    searcher = None if settings.searcher == "gepa" else _searcher(models, settings, pool, folder, seed, display)
    with display.bar("Searching, in sampled responses", settings.budget) as advance:
        log = SearchLog(folder / SEARCH_LOG, settings.samples_per_instruction, advance)
        if searcher is None:
            _search_by_rewriting(evaluator, log, seed)
        else:
            _search_pool(evaluator, log, pool, searcher, seed)
    return list(log.queries.values())


def _check_lengths(models: SearchModels, settings: RevealSection) -> None:
    """Check that both models have room for the user's texts with their templates, soft prompts and prefixes."""
    added = settings.soft_tokens + max((len(models.generator_builder.unfinished_answer(text)) for text in settings.prefixes), default=0)
    for name, texts in (("topics", settings.topics), ("instructions", settings.instructions)):
        for number, text in enumerate(texts, start=1):
            what, whole = f"data.forget.reveal.{name}: number {number}", settings.prompt_template.replace(SLOT, text)
            check_room(models.generator, added + len(models.generator_builder.prompt((Turn("user", text),))), what)
            check_room(models.target, added + len(models.builder.prompt((Turn("user", whole),))), what)


def _search_pool(evaluator: Evaluator, log: SearchLog, pool: Pool, searcher: Searcher, seed: int) -> None:
    settings, first = evaluator.settings, True
    limit = settings.budget // settings.samples_per_instruction
    while affordable := max(0, limit - len(log.queries)):
        # While replaying, only the first proposal is computed, to recognise the log of another search: fitting the bandit takes time.
        proposed = None if log.replaying and not first else searcher.propose(MAX_PROPOSED)
        if proposed == []:
            return

        def make(number: int, proposed: list[int] | None = proposed, affordable: int = affordable) -> Step:
            return _query_candidates(evaluator, pool, proposed or [], log.queries, affordable, _step_seed(seed, number))

        step, first = log.next_step(proposed, None, make), False
        for candidate, key in zip(step.proposed, step.keys, strict=True):
            # A candidate whose query the budget did not cover is not observed.
            if not key or key in log.queries:
                searcher.observe(candidate, log.queries[key].reward if key else 0.0)


def _search_by_rewriting(evaluator: Evaluator, log: SearchLog, seed: int) -> None:
    """GEPA: the generator rewrites instructions, given the rewards of earlier ones."""
    models, settings = evaluator.models, evaluator.settings

    def evaluate(instruction: str) -> float:
        key = settings.prompt_template.replace(SLOT, instruction)
        if key not in log.queries:
            log.next_step(None, [key], lambda number: Step([], [key], {key: evaluator.query([key], _step_seed(seed, number))[0]}))
        return log.queries[key].reward

    def reflect(request: str) -> str:
        prompt = models.generator_builder.prompt((Turn("user", request),))
        return clean_instruction(generate(models.generator, models.generator_builder, [prompt], MAX_INSTRUCTION_TOKENS)[0])

    gepa_search(settings.instructions, evaluate, reflect, settings.budget // settings.samples_per_instruction, seed)


def _step_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, 21, number]).generate_state(1)[0])


def make_pool(models: SearchModels, settings: RevealSection, seed: int) -> Pool:
    """Return the candidates of a search."""
    shape = settings.soft_prompt_count, settings.soft_tokens, settings.intrinsic_dim
    soft = soft_prompts(models.generator, *shape, settings.soft_token_scale, seed)
    return Pool(soft, tuple(settings.topics), tuple(dict.fromkeys(settings.instructions)), tuple(settings.prefixes))


def _query_candidates(
    evaluator: Evaluator, pool: Pool, proposed: list[int], queries: Mapping[str, Query], affordable: int, seed: int
) -> Step:
    """Make the queries of candidates that were not made yet, as far as the budget reaches."""
    models, settings = evaluator.models, evaluator.settings
    if settings.mode == "direct":
        keys = [str(candidate) for candidate in proposed]
        fresh = keys[:affordable]
        made = evaluator.query_soft_prompts(pool, proposed[:affordable], seed)
        return Step(proposed, keys, dict(zip(fresh, made, strict=True)))
    instructions = write_instructions(models.generator, models.generator_builder, pool, proposed)
    keys = [settings.prompt_template.replace(SLOT, text) if text else "" for text in instructions]
    fresh = list(dict.fromkeys(key for key in keys if key and key not in queries))[:affordable]
    return Step(proposed, keys, dict(zip(fresh, evaluator.query(fresh, seed), strict=True)))


def _searcher(models: SearchModels, settings: RevealSection, pool: Pool, folder: Path, seed: int, display: Display) -> Searcher:
    if settings.searcher == "neural_ucb":
        features = _features(models, pool, folder, display)
        return NeuralUCB(
            features,
            random_starts=settings.random_starts,
            candidates_per_step=settings.candidates_per_step,
            covariance=settings.covariance,
            exploration=settings.exploration,
            ridge=settings.ridge,
            batch_size=settings.batch_size,
            seed=seed,
        )
    return SequentialSearch(len(pool)) if settings.searcher == "handwritten" else RandomSearch(len(pool), seed)


def _features(models: SearchModels, pool: Pool, folder: Path, display: Display) -> Tensor:
    path = folder / FEATURES
    if (stored := _stored_features(path)) is not None:
        return stored
    with display.bar("Computing features of the candidates", len(pool)) as advance:
        features = pool_features(models.generator, models.generator_builder, pool, advance).contiguous()
    # Unlike handwritten instructions, soft prompts can have any norm.
    check_finite([("the state of a candidate", features)], "so no search is possible; lower data.forget.reveal.soft_token_scale")
    write_bytes(path, save({"features": features}, {"sha256": _tensor_sha256(features)}))
    return features


def _stored_features(path: Path) -> Tensor | None:
    """Return the features in a file, or None if there is none or if it is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            features, metadata = file.get_tensor("features"), file.metadata() or {}
    except (OSError, SafetensorError):
        return None
    return features if metadata.get("sha256") == _tensor_sha256(features) else None


def _tensor_sha256(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
