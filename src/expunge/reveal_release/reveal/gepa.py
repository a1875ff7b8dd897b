"""Search by rewriting: a model improves instructions, given the rewards of earlier ones (GEPA, Agrawal et al., 2025, arXiv 2507.19457)."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from expunge.errors import InputError

SHOWN = 4
"""Number of earlier instructions in a reflection's prompt, beside the one to improve."""
PATIENCE = 20
"""Number of reflections in a row without a new instruction that ends the search."""
_COMPONENT = "instruction"


def gepa_search(
    start_texts: Sequence[str], evaluate: Callable[[str], float], reflect: Callable[[str], str], budget: int, seed: int
) -> None:
    """Evaluate the start instructions, then rewritings of the best one so far; `evaluate` stores the results.

    GEPA maintains a Pareto front over several tasks. Here there is one task, so the front is the best instruction.

    Args:
        start_texts: instructions to start from, at least one.
        evaluate: returns the reward of an instruction, in [0, 1]; called once for each instruction. A killed search resumes if it returns
            earlier rewards from a log: the same instructions come again if `reflect` is deterministic.
        reflect: returns a better instruction for a request, and nothing else; usually a model.
        budget: number of distinct instructions to evaluate; fewer if `PATIENCE` reflections in a row bring nothing new.
        seed: determines which instructions a reflection's prompt shows.

    Raises:
        InputError: the package `gepa` is not installed.
    """
    try:
        import gepa
    except ImportError as error:
        raise InputError('searcher gepa: the package gepa is missing; pip install "expunge[gepa]"') from error
    rewriter = _Rewriter(evaluate, reflect, budget, seed)
    for text in list(dict.fromkeys(start_texts))[:budget]:
        rewriter.reward(text)
    gepa.optimize(
        {_COMPONENT: rewriter.best()},
        trainset=[_COMPONENT],
        adapter=rewriter,
        custom_candidate_proposer=rewriter.rewrite,
        reflection_minibatch_size=1,
        # Otherwise a perfect score would loop forever without a proposal.
        skip_perfect_score=False,
        stop_callbacks=rewriter.stop,
        logger=_Silent(),
        track_best_outputs=False,
        seed=seed,
    )


class _Rewriter:
    """GEPA's adapter (see `gepa.core.adapter.GEPAAdapter`), its proposer and its stop callback in one object."""

    propose_new_texts: Any = None

    def __init__(self, evaluate: Callable[[str], float], reflect: Callable[[str], str], budget: int, seed: int):
        self._evaluate, self._reflect, self._budget, self._seed = evaluate, reflect, budget, seed
        self._rewards: dict[str, float] = {}
        self._reflections = self._idle = 0
        self._failure: BaseException | None = None

    def reward(self, text: str) -> float:
        if text not in self._rewards:
            self._rewards[text] = self._evaluate(text)
            self._idle = 0
        return self._rewards[text]

    def best(self) -> str:
        return max(self._rewards, key=self._rewards.__getitem__)

    def stop(self, gepa_state: Any) -> bool:
        # GEPA would log an exception of a reflection and continue.
        if self._failure is not None:
            raise self._failure
        return len(self._rewards) >= self._budget or self._idle >= PATIENCE

    def evaluate(self, batch: list[str], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        from gepa.core.adapter import EvaluationBatch

        text = candidate[_COMPONENT]
        return EvaluationBatch(outputs=[text] * len(batch), scores=[self.reward(text)] * len(batch), trajectories=[text] * len(batch))

    def make_reflective_dataset(self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]) -> dict[str, list]:
        return {_COMPONENT: [{"score": self._rewards[candidate[_COMPONENT]]}]}

    def rewrite(self, candidate: dict[str, str], reflective_dataset: Mapping[str, Any], components_to_update: list[str]) -> dict[str, str]:
        request = self._request(candidate[_COMPONENT])
        self._reflections += 1
        self._idle += 1
        try:
            text = self._reflect(request).strip()
        finally:
            self._failure = sys.exception()
        return {_COMPONENT: text} if text else {}

    def _request(self, parent: str) -> str:
        """Return a prompt for a better instruction. It shows other instructions each time, because a greedy model would repeat itself."""
        others = [text for text in self._rewards if text != parent]
        chosen = np.random.default_rng([self._seed, self._reflections]).permutation(len(others))[:SHOWN]
        shown = sorted((*(others[i] for i in chosen), parent), key=self._rewards.__getitem__)
        lines = "".join(f"Score {100 * self._rewards[text]:.0f}: {text}\n" for text in shown)
        return (
            "Here are instructions for a language model, each with a score from 0 to 100 for how much of what is sought it brings out, in "
            f"how many different answers; the last is the best.\n\n{lines}\n"
            "Write one new instruction that would score higher than the last. Answer with the instruction alone."
        )


class _Silent:
    """Discards log messages: GEPA's own logger prints, but the search shows progress itself."""

    def log(self, message: str) -> None:
        pass
