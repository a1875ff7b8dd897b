"""Results on standard output: plain lines, durations, and the last lines of a verb."""

from __future__ import annotations

from typing import TYPE_CHECKING

from expunge.console import SafeConsole

if TYPE_CHECKING:
    from expunge.runs.folder import Run

PIPED_WIDTH = 110
"""Characters in a line where standard output is no terminal: the audit's table fits."""


def standard_output() -> SafeConsole:
    """Return a console on standard output, `PIPED_WIDTH` wide if that is no terminal."""
    console = SafeConsole()
    return console if console.is_terminal else SafeConsole(width=PIPED_WIDTH)


def print_lines(*lines: str) -> None:
    """Print lines as they are, see `SafeConsole.print_line`."""
    console = standard_output()
    for line in lines:
        console.print_line(line)


def print_closing(run: Run, done: str) -> None:
    """Print the last lines of a verb: what was done, where the result is, what to type next."""
    if (run.folder / "report.html").exists():
        from expunge.reporting.metric_rows import headline

        print_lines(f"{done} {headline(run.summary)}", f"Report  {run.folder / 'report.html'}", f"Next    expunge chat {run.folder}")
    else:
        print_lines(done, f"Run     {run.folder}", f"Next    expunge audit {run.folder}")


def duration(seconds: float) -> str:
    """Return a duration for readers, such as "1 min 12 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
