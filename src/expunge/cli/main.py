"""The command line: one file a verb, errors in one sentence, exit code 0 (ok), 1 (failed) or 2 (bad input)."""

import logging
import os
import sys
import warnings
from typing import Annotated

import typer
from rich.console import Console

from expunge.cli import audit, chat, compare, demo, export, gate, ls, purge, release, reveal, run, undo, unlearn, validate, verify
from expunge.errors import ExpungeError
from expunge.version import __version__

app = typer.Typer(
    name="expunge",
    help="LLM unlearning you can verify. Start with: expunge demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (demo, unlearn, reveal, release, run, audit, gate, compare, chat, undo, export, purge, validate, verify, ls):
    app.command(verb.__name__.rpartition(".")[2], epilog=f"Example: {verb.EXAMPLE}")(verb.command)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"expunge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version.")] = False,
) -> None:
    """Make a language model forget, and verify that it did. Start with: expunge demo."""


def main() -> None:
    """Entry point of the `expunge` command."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # What libraries will rename some day is nothing that who types a command can act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|torch|peft")
    error = Console(stderr=True)
    try:
        app()
    except ExpungeError as failure:
        error.print(f"expunge: {failure}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(failure.exit_code)
    except SystemExit as done:
        # What typer makes of Ctrl-C.
        if done.code == 130:
            error.print("expunge: interrupted; the same command goes on where it was")
        raise


if __name__ == "__main__":
    main()
