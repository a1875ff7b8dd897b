"""Turn whatever ends a command into one sentence and an exit code."""

import os
import traceback
from pathlib import Path
from typing import Any

import typer

from expunge.errors import ExpungeError

DEBUG = "EXPUNGE_DEBUG"
"""Environment variable that makes unexpected errors end with their traceback."""
INTERRUPTED = 130
PACKAGE = Path(__file__).parents[1]
# Typer has the command-line library `click` inside, under a name that differs between its versions.
UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def sentence(error: Exception) -> str:
    """Return what to print about an error, in one sentence; an empty text if the help was printed.

    The message of an unexpected error is left out, because it may quote the text to forget: its type and its place are given.
    """
    if isinstance(error, ExpungeError):
        return str(error)
    if isinstance(error, UsageError):
        shown: Any = error
        message = " ".join(shown.format_message().split()).rstrip(".").replace(": Value error, ", ": ")
        return f"{message}; see {shown.ctx.command_path if shown.ctx else 'expunge'} --help" if message else ""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "there is not enough memory; use a smaller model or batch_size, or close other programs"
    if isinstance(error, OSError) and error.strerror:
        named = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return f"{named}{error.strerror.lower()}"
    return f"unexpected {type(error).__name__} in {_place(error)}; please report it, with the traceback that {DEBUG}=1 prints"


def exit_code(error: Exception) -> int:
    """Return 2 for wrong input, else 1."""
    return 2 if isinstance(error, UsageError) else getattr(error, "exit_code", 1)


def is_expected(error: Exception) -> bool:
    """Return whether an error says something about the input or the machine, not about a mistake in expunge."""
    return isinstance(error, ExpungeError | UsageError) or (isinstance(error, OSError) and error.strerror is not None)


def _place(error: Exception) -> str:
    """Return file and line of the innermost call inside the package."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(PACKAGE)]
    return f"expunge/{Path(frames[-1].filename).relative_to(PACKAGE).as_posix()}:{frames[-1].lineno}" if frames else "a library"
