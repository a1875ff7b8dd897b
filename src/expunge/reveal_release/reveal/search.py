"""The search for instructions that make a model tell: propose, ask, score, observe; goes on after any asking that was logged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from expunge.config import RevealSection
from expunge.config.reveal import SLOT
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Turn
from expunge.files import atomic_file
from expunge.metrics.diversity import set_score
from expunge.models.generation import generate, nucleus_sampler
from expunge.oracles.checked import diversity_of, judge_texts
from expunge.oracles.embedders import Embedder, StateEmbedder
from expunge.reveal_release.reveal.bandit import NeuralUCB
from expunge.reveal_release.reveal.candidates import (
    LONGEST_INSTRUCTION,
    Pool,
    answers,
    instructions,
    plain_instruction,
    pool_features,
    soft_prompts,
)
from expunge.reveal_release.reveal.gepa import gepa_search
from expunge.reveal_release.reveal.search_log import Asked, Notebook, Turns
from expunge.reveal_release.reveal.searchers import InOrder, RandomSearch, Searcher
from expunge.runs.folder import SEARCH_LOG

AT_ONCE = 8
"""The most instructions asked together."""
BATCH_SIZE = 64
FEATURES = "features.safetensors"


@dataclass(frozen=True)
class Models:
    """Who is asked and who writes the instructions.

    Attributes:
        target, builder: the model that is asked, with its prompt builder.
        generator, writer: the model that writes, with its own; often the same.
    """

    target: nn.Module
    builder: PromptBuilder
    generator: nn.Module
    writer: PromptBuilder


class Asker:
    """Asks a target and scores what it answers."""

    def __init__(self, models: Models, settings: RevealSection):
        self.models, self.settings = models, settings
        self._embedder: Embedder = settings.embedder or StateEmbedder(models.target, models.builder)
        # What they lack shows here, before anything is sampled.
        self._embedder.embed(["a text"])
        for oracle in filter(None, (settings.oracle, settings.judge)):
            judge_texts(oracle, ["a text"])

    def ask(self, texts: Sequence[str], seed: int) -> list[Asked]:
        """Sample responses to instructions."""
        count = self.settings.samples_per_instruction
        prompts = [self.models.builder.prompt((Turn("user", text),)) for text in texts for _ in range(count)]
        sampler = nucleus_sampler(seed, self.settings.temperature)
        said = generate(self.models.target, self.models.builder, prompts, self.settings.max_new_tokens, BATCH_SIZE, sampler=sampler)
        return self._scored(texts, said)

    def ask_directly(self, pool: Pool, candidates: Sequence[int], seed: int) -> list[Asked]:
        """Sample responses to soft prompts themselves."""
        each = [candidate for candidate in candidates for _ in range(self.settings.samples_per_instruction)]
        sampler = nucleus_sampler(seed, self.settings.temperature)
        said = answers(self.models.target, self.models.builder, pool, each, self.settings.max_new_tokens, sampler)
        return self._scored([pool.seed_text(i) for i in candidates], said)

    def _scored(self, texts: Sequence[str], said: Sequence[str]) -> list[Asked]:
        count, found = self.settings.samples_per_instruction, []
        relevances = judge_texts(self.settings.oracle, said)
        for i, text in enumerate(texts):
            own, relevant = said[i * count : (i + 1) * count], relevances[i * count : (i + 1) * count]
            varied = diversity_of(self._embedder, own)
            mean = sum(relevant) / count
            score = set_score(mean, varied, self.settings.diversity_weight)
            tokens = sum(len(self.models.builder.answer(response)) for response in own)
            found.append(Asked(text, tuple(own), tuple(relevant), mean, varied, score, tokens))
        return found


def search(models: Models, settings: RevealSection, folder: Path, seed: int, display: Display) -> list[Asked]:
    """Ask until the budget is spent or nothing is left to ask; the same call after an interruption goes on after the last asking.

    Args:
        models: in evaluation mode.
        settings: of the search.
        folder: gets the log, which nobody else may read, and the pool's features.
        seed: of everything that is drawn.
        display: where progress goes.

    Returns:
        Every instruction that was asked, in order.

    Raises:
        InputError: the oracle, or the searcher, lacks something.
        ExpungeError: the log in the folder is of another search.
    """
    asker = Asker(models, settings)
    pool = make_pool(models, settings, seed)
    searcher = None if settings.searcher == "gepa" else _searcher(models, settings, pool, folder, seed, display)
    with display.bar("Asking, in sampled responses", settings.budget) as advance:
        notebook = Notebook(folder / SEARCH_LOG, settings.samples_per_instruction, advance)
        if searcher is None:
            _search_texts(asker, notebook, seed)
        else:
            _search_pool(asker, notebook, pool, searcher, seed)
    return list(notebook.asked.values())


def _search_pool(asker: Asker, notebook: Notebook, pool: Pool, searcher: Searcher, seed: int) -> None:
    limit, asked, first = asker.settings.budget // asker.settings.samples_per_instruction, notebook.asked, True
    while affordable := max(0, limit - len(asked)):
        # What a fitted searcher proposed then need not be worked out again; the first proposal tells one search from another.
        proposed = None if notebook.replaying and not first else searcher.propose(AT_ONCE)
        if proposed == []:
            return

        def make(number: int, proposed: list[int] | None = proposed, affordable: int = affordable) -> Turns:
            return _take(asker, pool, proposed or [], asked, affordable, _drawn(seed, number))

        turns, first = notebook.next(proposed, None, make), False
        for candidate, key in zip(turns.proposed, turns.keys, strict=True):
            # What the budget no longer reached is not judged.
            if not key or key in asked:
                searcher.observe(candidate, asked[key].score if key else 0.0)


def _search_texts(asker: Asker, notebook: Notebook, seed: int) -> None:
    """GEPA: texts rewritten by the generator, which is told what earlier ones were worth."""
    models, settings = asker.models, asker.settings

    def evaluate(text: str) -> float:
        key = settings.prompt_template.replace(SLOT, text)
        if key not in notebook.asked:
            notebook.next(None, [key], lambda number: Turns([], [key], {key: asker.ask([key], _drawn(seed, number))[0]}))
        return notebook.asked[key].score

    def reflect(request: str) -> str:
        prompt = models.writer.prompt((Turn("user", request),))
        return plain_instruction(generate(models.generator, models.writer, [prompt], LONGEST_INSTRUCTION)[0])

    gepa_search(settings.instructions, evaluate, reflect, settings.budget // settings.samples_per_instruction, seed)


def _drawn(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, 21, number]).generate_state(1)[0])


def make_pool(models: Models, settings: RevealSection, seed: int) -> Pool:
    """The candidates of a search."""
    shape = settings.soft_prompt_count, settings.soft_tokens, settings.intrinsic_dim
    soft = soft_prompts(models.generator, *shape, settings.soft_token_scale, seed)
    return Pool(soft, tuple(settings.topics), tuple(dict.fromkeys(settings.instructions)), tuple(settings.prefixes))


def _take(asker: Asker, pool: Pool, proposed: list[int], asked: Mapping[str, Asked], affordable: int, seed: int) -> Turns:
    """Ask what was not asked yet of some candidates, as far as the budget reaches."""
    models, settings = asker.models, asker.settings
    if settings.mode == "direct":
        keys = [str(candidate) for candidate in proposed]
        fresh = keys[:affordable]
        return Turns(proposed, keys, dict(zip(fresh, asker.ask_directly(pool, proposed[:affordable], seed), strict=True)))
    written = instructions(models.generator, models.writer, pool, proposed)
    keys = [settings.prompt_template.replace(SLOT, text) if text else "" for text in written]
    fresh = list(dict.fromkeys(key for key in keys if key and key not in asked))[:affordable]
    return Turns(proposed, keys, dict(zip(fresh, asker.ask(fresh, seed), strict=True)))


def _searcher(models: Models, settings: RevealSection, pool: Pool, folder: Path, seed: int, display: Display) -> Searcher:
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
    return InOrder(len(pool)) if settings.searcher == "handwritten" else RandomSearch(len(pool), seed)


def _features(models: Models, pool: Pool, folder: Path, display: Display) -> Tensor:
    path = folder / FEATURES
    if not path.exists():
        with display.bar("Reading candidates", len(pool)) as advance:
            features = pool_features(models.generator, models.writer, pool, advance)
        with atomic_file(path) as fresh:
            save_file({"features": features}, fresh)
    return load_file(path)["features"]
