"""The command line: one file a verb, errors in one sentence, exit code 0 (ok), 1 (failed) or 2 (bad input)."""

import logging
import os
import sys

import typer
from rich.console import Console

from expunge.cli import audit, chat, compare, demo, ls, run, unlearn, validate
from expunge.errors import ExpungeError

app = typer.Typer(
    name="expunge",
    help="LLM unlearning you can verify. Start with: expunge demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (demo, unlearn, run, audit, compare, chat, validate, ls):
    app.command(epilog=f"Example: {verb.EXAMPLE}")(verb.command)


def main() -> None:
    """Entry point of the `expunge` command."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    error = Console(stderr=True)
    try:
        app()
    except ExpungeError as failure:
        error.print(f"expunge: {failure}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(failure.exit_code)
    except KeyboardInterrupt:
        error.print("expunge: interrupted; the same command goes on where it was")
        sys.exit(130)


if __name__ == "__main__":
    main()
