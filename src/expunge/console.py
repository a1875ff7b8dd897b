"""What a person at the terminal sees while it works: bars on a terminal, plain lines anywhere else, all on standard error."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Display:
    """Progress and remarks of one command.

    Attributes:
        console: on standard error, so that results on standard output can be piped.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True)

    def say(self, text: str) -> None:
        """A remark of one sentence."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def progress(self) -> AbstractContextManager[Progress]:
        """A display of bars; nothing moves where there is no terminal, a line says what has begun and ended."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        return Progress(*columns, console=self.console, transient=True) if self.console.is_terminal else _Lines(self.console)

    @contextmanager
    def bar(self, title: str, total: int | None) -> Iterator[Callable[..., None]]:
        """A bar; call the result with the number of steps done since the last call."""
        with self.progress() as progress:
            task = progress.add_task(title, total=total)
            yield lambda done: progress.advance(task, done)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Something whose length is not known."""
        with self.bar(title, None):
            yield

    @staticmethod
    def nothing() -> AbstractContextManager[None]:
        """A context that does nothing, for the processes that do not write."""
        return nullcontext()


class _Lines(Progress):
    """Bars for logs: a line when something begins, at most one every 20 seconds, and one when it ends."""

    def __init__(self, console: Console):
        super().__init__(console=console, disable=True)
        self.said = 0.0

    def add_task(self, description: str, *args: Any, **kwargs: Any) -> TaskID:
        task = super().add_task(description, *args, **kwargs)
        self.console.print(f"{description} ...", markup=False, highlight=False)
        self.said = time.monotonic()
        return task

    def update(self, task_id: TaskID, **kwargs: Any) -> None:
        super().update(task_id, **kwargs)
        self._line(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._line(task_id)

    def _line(self, task_id: TaskID) -> None:
        task = self._tasks[task_id]
        finished = task.total is not None and task.completed >= task.total
        if finished or time.monotonic() - self.said > 20:
            self.said = time.monotonic()
            of = f" of {task.total:.0f}" if task.total else ""
            self.console.print(f"{task.description}: {task.completed:.0f}{of}", markup=False, highlight=False)
