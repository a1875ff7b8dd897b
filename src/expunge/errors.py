"""Errors for the user: the input is wrong (exit code 2), or the work failed (exit code 1)."""


class ExpungeError(Exception):
    """The work failed. The message is one sentence for the user; exit code 1."""

    exit_code = 1


class InputError(ExpungeError):
    """The user's input is wrong. The message is one sentence that names file, line and field; exit code 2."""

    exit_code = 2


class WrongBase(InputError):
    """The edit was trained on another base model."""


def quoted(name: str) -> str:
    """Return a name from the user's file for an error message: in quotes, without control characters, at most 60 characters."""
    short = name if len(name) <= 60 else name[:60] + "…"
    return f'"{short}"' if short.isprintable() else ascii(short)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the kind of error if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class Damaged(InputError):
    """A file is not the one that expunge wrote. The message names the file."""
