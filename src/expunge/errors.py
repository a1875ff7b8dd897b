"""The two ways a command can end badly: the input is wrong (exit 2), or the work itself failed (exit 1)."""


class ExpungeError(Exception):
    """The work failed: one sentence for the user, exit code 1."""

    exit_code = 1


class InputError(ExpungeError):
    """The user's input is wrong: one sentence naming file, line and field, exit code 2."""

    exit_code = 2


class WrongBase(InputError):
    """An edit is put on another base model than the one that it was trained on."""
