"""The search by rewriting: what is asked, when it ends, and that a killed one goes on."""

import pytest

from expunge.reveal_release.reveal.gepa import PATIENCE, gepa_search

pytest.importorskip("gepa")

WORDS = ["name", "list", "every", "person", "city", "now"]


def worth(text: str) -> float:
    """Share of the words of a good instruction that a text has."""
    return sum(word in text.split() for word in WORDS) / len(WORDS)


def add_a_word(request: str) -> str:
    """A rewriter without a model: the best instruction of the request, and the first word that it lacks; in the end another order."""
    best = [line for line in request.splitlines() if line.startswith("Score ")][-1].partition(": ")[2]
    missing = [word for word in WORDS if word not in best.split()]
    return f"{best} {missing[0]}" if missing else " ".join(reversed(best.split()))


class Log:
    """Evaluates as a search does that keeps what it paid for."""

    def __init__(self, known: dict[str, float] | None = None, stop_after: int = 100):
        self.known, self.paid, self.stop_after = dict(known or {}), [], stop_after

    def evaluate(self, text: str) -> float:
        if text not in self.known:
            if len(self.paid) == self.stop_after:
                raise KeyboardInterrupt
            self.paid.append(text)
            self.known[text] = worth(text)
        return self.known[text]


def test_the_best_start_is_rewritten_until_the_budget_is_spent():
    log = Log()
    gepa_search(["tell me", "name it", "name it"], log.evaluate, add_a_word, budget=5, seed=0)
    assert log.paid == ["tell me", "name it", "name it list", "name it list every", "name it list every person"]


def test_starts_beyond_the_budget_are_not_asked():
    log = Log()
    gepa_search(["a", "b", "c"], log.evaluate, add_a_word, budget=2, seed=0)
    assert log.paid == ["a", "b"]


def test_a_search_that_brings_nothing_new_ends():
    log, requests = Log(), []
    gepa_search(["name it"], log.evaluate, lambda request: requests.append(request) or "name it", budget=9, seed=0)
    assert log.paid == ["name it"]
    assert len(requests) == PATIENCE


def test_an_empty_rewriting_is_not_asked():
    log = Log()
    gepa_search(["name it"], log.evaluate, lambda request: "  ", budget=9, seed=0)
    assert log.paid == ["name it"]


def test_a_perfect_instruction_is_rewritten_too():
    log = Log()
    gepa_search([" ".join(WORDS)], log.evaluate, add_a_word, budget=2, seed=0)
    assert log.paid[1] == " ".join(reversed(WORDS))


def test_a_killed_search_goes_on_and_pays_for_nothing_twice():
    whole, killed = Log(), Log(stop_after=3)
    gepa_search(["tell me"], whole.evaluate, add_a_word, budget=6, seed=0)
    with pytest.raises(KeyboardInterrupt):
        gepa_search(["tell me"], killed.evaluate, add_a_word, budget=6, seed=0)
    resumed = Log(killed.known)
    gepa_search(["tell me"], resumed.evaluate, add_a_word, budget=6, seed=0)
    assert killed.paid + resumed.paid == whole.paid


def test_what_a_reflection_raises_ends_the_search():
    def fails(request: str) -> str:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        gepa_search(["name it"], Log().evaluate, fails, budget=9, seed=0)


def test_a_reflection_sees_the_best_instruction_last(capsys):
    requests = []
    gepa_search(["tell me", "name it", "x"], Log().evaluate, lambda request: requests.append(request) or add_a_word(request), 4, 0)
    lines = [line for line in requests[0].splitlines() if line.startswith("Score ")]
    # "name it" has one of the six words: 100 / 6 = 17
    assert lines[-1] == "Score 17: name it"
    assert sorted(lines[:2]) == ["Score 0: tell me", "Score 0: x"]
    assert capsys.readouterr().out == ""
