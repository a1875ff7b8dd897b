"""The terminal: every text that is printed has its control characters made visible; progress is bars, or plain lines in a log."""

import logging
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment

# Zero-width joiners (U+200C, U+200D) are not escaped, because Persian and Indic scripts need them.
_ALLOWED = "\n\t\u200c\u200d"
LINE_SECONDS = 20
"""Seconds between two progress lines in a log."""


def visible(text: str) -> str:
    """Replace control, format, line-separating and unpaired surrogate characters by their code points.

    A colour code becomes `<U+001B>[31m`, a right-to-left override `<U+202E>`. Line ends, tabs and joiners do not change.
    """
    return text if text.isprintable() else "".join(map(_shown, text.replace("\r\n", "\n")))


def one_line(text: str) -> str:
    """Return a text as part of one line of output: `visible`, and without line ends, so that no name looks like another line."""
    return visible(text).replace("\n", "<U+000A>")


class SafeConsole(Console):
    """A console on which no printed text can move the cursor, change colours, name a link or reverse a line.

    Texts come from models, records, file names and other people's recipes. Every renderable passes here, so that none can be missed;
    what needs its place in a table is made visible before, because the code points take more room.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as `rich` does, with `visible` texts."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)

    def print_line(self, text: str) -> None:
        """Print one line as it is: not wrapped, because paths must stay whole, and without markup."""
        self.print(one_line(text), markup=False, emoji=False, highlight=False, soft_wrap=True)


class LineFormatter(logging.Formatter):
    """Format each log message as one line of visible characters."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message; the line ends of a library's message become spaces."""
        return visible(" ".join(record.getMessage().split("\n")))


class Display:
    """Progress bars and remarks of one command.

    Attributes:
        console: on standard error, so that results on standard output can be piped.
    """

    def __init__(self, console: SafeConsole | None = None):
        self.console = console or SafeConsole(stderr=True)

    def print(self, text: str) -> None:
        """Print a remark of one sentence."""
        self.console.print_line(text)

    def progress(self) -> AbstractContextManager[Progress]:
        """Return a display of bars. Without a terminal it prints a line at the start, now and then, and at the end."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
        )
        return Progress(*columns, console=self.console, transient=True) if self.console.is_terminal else _Lines(self.console)

    @contextmanager
    def bar(self, title: str, total: int | None) -> Iterator["Bar"]:
        """Show a bar; call it with the number of steps done since the last call. `total` None: not known yet."""
        with self.progress() as progress:
            yield Bar(progress, progress.add_task(title, total=total))

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show that something short is running."""
        with self.bar(title, None):
            yield


class Bar:
    """A progress bar; call it with the number of steps done since the last call."""

    def __init__(self, progress: Progress, task: TaskID):
        self.progress, self.task = progress, task

    def __call__(self, done: int) -> None:
        """Advance the bar by a number of steps."""
        self.progress.advance(self.task, done)

    def expect(self, more: int) -> None:
        """Set the number of steps that are still to come, if it became known only now."""
        done = sum(task.completed for task in self.progress.tasks if task.id == self.task)
        self.progress.update(self.task, total=done + more)


class _Lines(Progress):
    """Progress as lines in a log: one at the start, at most one every `LINE_SECONDS`, one at the end."""

    def __init__(self, console: SafeConsole):
        super().__init__(console=console, disable=True)
        self.lines = console
        self.printed_at = 0.0

    def add_task(self, description: str, *args: Any, **kwargs: Any) -> TaskID:
        task = super().add_task(description, *args, **kwargs)
        self.lines.print_line(f"{description} ...")
        self.printed_at = time.monotonic()
        return task

    def update(self, task_id: TaskID, **kwargs: Any) -> None:
        super().update(task_id, **kwargs)
        self._print(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._print(task_id)

    def _print(self, task_id: TaskID) -> None:
        task = self._tasks[task_id]
        finished = task.total is not None and task.completed >= task.total
        if not finished and time.monotonic() - self.printed_at <= LINE_SECONDS:
            return
        self.printed_at = time.monotonic()
        of_total = f" of {task.total:.0f}" if task.total else ""
        left = f", {task.time_remaining:.0f} s left" if task.time_remaining and not finished else ""
        self.lines.print_line(f"{task.description}: {task.completed:.0f}{of_total}{left}")


def _shown(char: str) -> str:
    hidden = unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char not in _ALLOWED
    return f"<U+{ord(char):04X}>" if hidden else char
