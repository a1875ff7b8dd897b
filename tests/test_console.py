"""Progress in a log: lines instead of bars."""

import io

from rich.console import Console

from expunge.console import Display


def lines_of(work) -> list[str]:
    output = io.StringIO()
    work(Display(Console(file=output, width=100)))
    return output.getvalue().splitlines()


def test_a_bar_in_a_log_is_a_line_at_the_start_and_one_at_the_end():
    def work(display: Display) -> None:
        with display.bar("Scoring", 3) as advance:
            advance(1)
            advance(2)

    assert lines_of(work) == ["Scoring ...", "Scoring: 3 of 3"]


def test_a_total_may_become_known_later():
    def work(display: Display) -> None:
        with display.bar("Reading", None) as bar:
            bar(1)
            bar.expect(2)
            bar(1)

    assert lines_of(work) == ["Reading ...", "Reading: 2 of 2"]


def test_a_long_step_reports_the_time_left(monkeypatch):
    monkeypatch.setattr("expunge.console.LINE_SECONDS", -1)

    def work(display: Display) -> None:
        with display.bar("Scoring", 10) as advance:
            advance(1)
            advance(1)

    assert lines_of(work)[2].startswith("Scoring: 2 of 10, ")
    assert lines_of(work)[2].endswith(" s left")
