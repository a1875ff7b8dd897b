"""Progress for the user: bars with the time left on a terminal, plain lines in a log, always on standard error."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_SECONDS = 20
"""Seconds between two progress lines in a log."""


class Display:
    """Progress bars and remarks of one command.

    Attributes:
        console: on standard error, so that results on standard output can be piped.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True)

    def print(self, text: str) -> None:
        """Print a remark of one sentence."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def progress(self) -> AbstractContextManager[Progress]:
        """Return a display of bars. Without a terminal it prints a line at the start, now and then, and at the end."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
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

    @staticmethod
    def nothing() -> AbstractContextManager[None]:
        """Return a context that does nothing, for processes that print nothing."""
        return nullcontext()


class Bar:
    """A progress bar; call it with the number of steps done since the last call."""

    def __init__(self, progress: Progress, task: TaskID):
        self.progress, self.task = progress, task

    def __call__(self, done: int) -> None:
        """Advance the bar by a number of steps."""
        self.progress.advance(self.task, done)

    def expect(self, total: int) -> None:
        """Set the number of steps, if it became known only now."""
        self.progress.update(self.task, total=total)


class _Lines(Progress):
    """Progress as lines in a log: one at the start, at most one every `LINE_SECONDS`, one at the end."""

    def __init__(self, console: Console):
        super().__init__(console=console, disable=True)
        self.printed_at = 0.0

    def add_task(self, description: str, *args: Any, **kwargs: Any) -> TaskID:
        task = super().add_task(description, *args, **kwargs)
        self.console.print(f"{description} ...", markup=False, highlight=False)
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
        self.console.print(f"{task.description}: {task.completed:.0f}{of_total}{left}", markup=False, highlight=False)
