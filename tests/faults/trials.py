"""Count trials by section and judge how each ended."""

from collections import Counter
from collections.abc import Iterable

from harness import Outcome

PROPERTY = "trials"
SECTIONS = (
    *("kills", "damage", "links", "modes", "hostile", "disk full", "processes", "secrets", "fuzz", "identity", "nonfinite"),
    *("metrics", "verdict"),
)
MEANINGS = {
    "silent": "the fault went unnoticed: exit code 0, a wrong result, or a secret in a file",
    "outside": "something outside the run folder changed",
    "hang": "the command did not end",
    "traceback": "the command ended with a traceback or an unexpected error",
    "wrong": "anything else: a repeated command left another result, or an error does not name the file",
}
"""How a trial that does not hold ended."""
VERDICTS = tuple(MEANINGS)
HELD = "held"


class Trials:
    """The trials of one test.

    Attributes:
        counts: {section: {verdict: number of trials}}.
        failures: a line for each trial that did not hold.
    """

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, int]] = {}
        self.failures: list[str] = []

    def count(self, section: str, what: str, verdict: str = HELD, detail: object = "") -> None:
        """Count a trial; `what` names it in the test's failure."""
        assert section in SECTIONS, section
        assert verdict in (HELD, *VERDICTS), verdict
        of_section = self.counts.setdefault(section, {})
        of_section[verdict] = of_section.get(verdict, 0) + 1
        if verdict != HELD:
            self.failures.append(f"{section}: {what}: {verdict} {detail}")

    def refused(self, section: str, what: str, outcome: Outcome, *named: str) -> None:
        """Count a trial that holds if the command ended with code 1 or 2 and one sentence, which contains every text of `named`."""
        self.count(section, what, refusal(outcome, named), outcome)

    def survived(self, section: str, what: str, outcome: Outcome) -> None:
        """Count a trial that holds if the command did its work or refused with one sentence: no traceback, no hang."""
        self.count(section, what, HELD if outcome.code == 0 and not outcome.has_traceback else refusal(outcome), outcome)


def refusal(outcome: Outcome, named: Iterable[str] = ()) -> str:
    """Return the verdict on a command that should have been refused with one sentence."""
    if outcome.hung:
        return "hang"
    if outcome.has_traceback:
        return "traceback"
    if outcome.code == 0:
        return "silent"
    return HELD if outcome.refused and all(text in outcome.sentence for text in named) else "wrong"


def added(counts: Iterable[dict[str, dict[str, int]]]) -> dict[str, Counter[str]]:
    """Return {section: {verdict: number of trials}} over all tests, in the order of `SECTIONS`."""
    total: dict[str, Counter[str]] = {section: Counter() for section in SECTIONS}
    for of_test in counts:
        for section, verdicts in of_test.items():
            total[section].update(verdicts)
    return {section: of_section for section, of_section in total.items() if of_section}


def summary_lines(total: dict[str, Counter[str]]) -> list[str]:
    """Return one line for each section."""
    return [
        f"{section}: {of_section.total()} trials, " + ", ".join(f"{of_section[verdict]} {verdict}" for verdict in VERDICTS)
        for section, of_section in total.items()
    ]
