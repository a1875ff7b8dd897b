"""Instructions that a model rewrites, told what earlier ones were worth: GEPA (Agrawal et al., 2025, arXiv 2507.19457), an extra."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from expunge.errors import InputError

SHOWN = 4
"""Earlier instructions that a reflection sees beside the one to be improved."""
PATIENCE = 20
"""Reflections in a row that bring no new text, after which a search ends."""
_COMPONENT = "instruction"


def gepa_search(
    start_texts: Sequence[str], evaluate: Callable[[str], float], reflect: Callable[[str], str], budget: int, seed: int
) -> None:
    """Ask the start texts, then what reflection makes of the best so far; whoever evaluates keeps the results.

    GEPA's instances are tasks that candidates are good at one by one. Here is one task, so its Pareto front is the best instruction.

    Args:
        start_texts: at least one.
        evaluate: the score of an instruction, in [0, 1]; it is called once a text. A search that was killed goes on if it answers what
            it was asked before from its log: the same texts come again, as long as `reflect` gives the same for the same.
        reflect: from a request for a better instruction to that instruction and nothing else; a model, most likely.
        budget: distinct texts to evaluate. Fewer are, if reflection brings nothing new `PATIENCE` times in a row.
        seed: of what a reflection is shown.

    Raises:
        InputError: the package is not installed.
    """
    try:
        import gepa
    except ImportError as error:
        raise InputError("the searcher gepa needs the package gepa; install expunge[gepa]") from error
    rewriter = _Rewriter(evaluate, reflect, budget, seed)
    for text in list(dict.fromkeys(start_texts))[:budget]:
        rewriter.score(text)
    gepa.optimize(
        {_COMPONENT: rewriter.best()},
        trainset=[_COMPONENT],
        adapter=rewriter,
        custom_candidate_proposer=rewriter.rewrite,
        reflection_minibatch_size=1,
        # Else it would go on for ever without a proposal.
        skip_perfect_score=False,
        stop_callbacks=rewriter.stop,
        logger=_Silent(),
        track_best_outputs=False,
        seed=seed,
    )


class _Rewriter:
    """What GEPA calls: its adapter (see `gepa.core.adapter.GEPAAdapter`), its proposer and its stop callback."""

    propose_new_texts: Any = None

    def __init__(self, evaluate: Callable[[str], float], reflect: Callable[[str], str], budget: int, seed: int):
        self._evaluate, self._reflect, self._budget, self._seed = evaluate, reflect, budget, seed
        self._scores: dict[str, float] = {}
        self._reflections = self._idle = 0
        self._failure: BaseException | None = None

    def score(self, text: str) -> float:
        if text not in self._scores:
            self._scores[text] = self._evaluate(text)
            self._idle = 0
        return self._scores[text]

    def best(self) -> str:
        return max(self._scores, key=self._scores.__getitem__)

    def stop(self, gepa_state: Any) -> bool:
        # GEPA logs what a reflection raises, and goes on.
        if self._failure is not None:
            raise self._failure
        return len(self._scores) >= self._budget or self._idle >= PATIENCE

    def evaluate(self, batch: list[str], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        from gepa.core.adapter import EvaluationBatch

        text = candidate[_COMPONENT]
        return EvaluationBatch(outputs=[text] * len(batch), scores=[self.score(text)] * len(batch), trajectories=[text] * len(batch))

    def make_reflective_dataset(self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]) -> dict[str, list]:
        return {_COMPONENT: [{"score": self._scores[candidate[_COMPONENT]]}]}

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
        """A request to improve an instruction, beside some others; which ones changes, lest a greedy model say the same again."""
        others = [text for text in self._scores if text != parent]
        chosen = np.random.default_rng([self._seed, self._reflections]).permutation(len(others))[:SHOWN]
        shown = sorted((*(others[i] for i in chosen), parent), key=self._scores.__getitem__)
        lines = "".join(f"Score {100 * self._scores[text]:.0f}: {text}\n" for text in shown)
        return (
            "Here are instructions for a language model, each with a score from 0 to 100 for how much of what is sought it brings out, in "
            f"how many different answers; the last is the best.\n\n{lines}\n"
            "Write one new instruction that would score higher than the last. Answer with the instruction alone."
        )


class _Silent:
    """GEPA's logger prints; progress is shown in one place, by whoever searches."""

    def log(self, message: str) -> None:
        pass
