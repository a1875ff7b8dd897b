"""Count trials by section and judge how each ended."""

from collections import Counter
from collections.abc import Iterable

from harness import Outcome

PROPERTY = "trials"
SECTIONS = (
    *("kills", "damage", "links", "modes", "hostile", "disk full", "processes", "secrets", "fuzz", "identity", "nonfinite"),
    *("metrics", "verdict"),
)
VERDICTS = ("silent", "outside", "hang", "traceback", "wrong")
"""How a trial that does not hold ended: the fault went unnoticed; something outside the run folder changed; the command did not end; it
ended with a traceback; or anything else, such as a result that differs or an error that does not name the file."""
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


def summary_lines(counts: Iterable[dict[str, dict[str, int]]]) -> list[str]:
    """Return one line for each section, in their order."""
    total: dict[str, Counter[str]] = {}
    for of_test in counts:
        for section, verdicts in of_test.items():
            total.setdefault(section, Counter()).update(verdicts)
    return [
        f"{section}: {of_section.total()} trials, " + ", ".join(f"{of_section[verdict]} {verdict}" for verdict in VERDICTS)
        for section in SECTIONS
        if (of_section := total.get(section))
    ]
