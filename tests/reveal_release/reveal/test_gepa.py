"""The search by rewriting: what it evaluates, when it ends, and how it resumes."""

import pytest

from expunge.reveal_release.reveal.gepa import PATIENCE, gepa_search

pytest.importorskip("gepa")

WORDS = ["name", "list", "every", "person", "city", "now"]


def reward_of(text: str) -> float:
    """Return the share of the words of a good instruction that a text has."""
    return sum(word in text.split() for word in WORDS) / len(WORDS)


def add_a_word(request: str) -> str:
    """Rewrite without a model: add the first missing word to the best instruction, or reverse its words."""
    best = [line for line in request.splitlines() if line.startswith("Score ")][-1].partition(": ")[2]
    missing = [word for word in WORDS if word not in best.split()]
    return f"{best} {missing[0]}" if missing else " ".join(reversed(best.split()))


class Log:
    """Evaluates instructions and logs their rewards, as a search does."""

    def __init__(self, logged: dict[str, float] | None = None, stop_after: int = 100):
        self.logged, self.evaluated, self.stop_after = dict(logged or {}), [], stop_after

    def evaluate(self, text: str) -> float:
        if text not in self.logged:
            if len(self.evaluated) == self.stop_after:
                raise KeyboardInterrupt
            self.evaluated.append(text)
            self.logged[text] = reward_of(text)
        return self.logged[text]


def test_the_best_start_is_rewritten_until_the_budget_is_spent():
    log = Log()
    gepa_search(["tell me", "name it", "name it"], log.evaluate, add_a_word, budget=5, seed=0)
    assert log.evaluated == ["tell me", "name it", "name it list", "name it list every", "name it list every person"]


def test_start_instructions_beyond_the_budget_are_not_evaluated():
    log = Log()
    gepa_search(["a", "b", "c"], log.evaluate, add_a_word, budget=2, seed=0)
    assert log.evaluated == ["a", "b"]


def test_a_search_without_new_instructions_ends():
    log, requests = Log(), []
    gepa_search(["name it"], log.evaluate, lambda request: requests.append(request) or "name it", budget=9, seed=0)
    assert log.evaluated == ["name it"]
    assert len(requests) == PATIENCE


def test_an_empty_rewriting_is_not_evaluated():
    log = Log()
    gepa_search(["name it"], log.evaluate, lambda request: "  ", budget=9, seed=0)
    assert log.evaluated == ["name it"]


def test_a_perfect_instruction_is_rewritten_too():
    log = Log()
    gepa_search([" ".join(WORDS)], log.evaluate, add_a_word, budget=2, seed=0)
    assert log.evaluated[1] == " ".join(reversed(WORDS))


def test_a_killed_search_resumes_without_evaluating_anything_twice():
    whole, killed = Log(), Log(stop_after=3)
    gepa_search(["tell me"], whole.evaluate, add_a_word, budget=6, seed=0)
    with pytest.raises(KeyboardInterrupt):
        gepa_search(["tell me"], killed.evaluate, add_a_word, budget=6, seed=0)
    resumed = Log(killed.logged)
    gepa_search(["tell me"], resumed.evaluate, add_a_word, budget=6, seed=0)
    assert killed.evaluated + resumed.evaluated == whole.evaluated


def test_an_exception_of_a_reflection_ends_the_search():
    def fails(request: str) -> str:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        gepa_search(["name it"], Log().evaluate, fails, budget=9, seed=0)


def test_a_reflection_prompt_shows_the_best_instruction_last(capsys):
    requests = []
    gepa_search(["tell me", "name it", "x"], Log().evaluate, lambda request: requests.append(request) or add_a_word(request), 4, 0)
    lines = [line for line in requests[0].splitlines() if line.startswith("Score ")]
    # "name it" has one of the six words: 100 / 6 = 17
    assert lines[-1] == "Score 17: name it"
    assert sorted(lines[:2]) == ["Score 0: tell me", "Score 0: x"]
    assert capsys.readouterr().out == ""
