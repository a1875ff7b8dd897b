"""The command `expunge`: its verbs grouped by purpose, its errors, its exit codes.

An error is one sentence on standard error. Exit codes: 0 (ok), 1 (the work failed), 2 (the input is wrong).
"""

import logging
import os
import sys
import warnings
from typing import Annotated

import typer

from expunge.cli import audit, chat, compare, demo, export, gate, ls, purge, release, reveal, run, undo, unlearn, validate, verify
from expunge.cli.failures import DEBUG, INTERRUPTED, exit_code, is_expected, sentence
from expunge.cli.launched import is_launched
from expunge.console import LineFormatter, SafeConsole
from expunge.errors import InputError
from expunge.version import __version__

VERBS = {
    "Start here": (demo,),
    "Make a model forget": (unlearn, run, reveal, release),
    "Verify that it forgot": (audit, gate, compare, verify),
    "Use the result": (chat, export, undo, purge),
    "Look up and check": (validate, ls),
}
IN_SEVERAL_PROCESSES = ("unlearn", "run", "reveal", "release", "audit")
"""Verbs that know of the other processes of `accelerate launch`; a release refuses them itself, also from Python."""

app = typer.Typer(
    name="expunge",
    help="LLM unlearning you can verify. Start with: expunge demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for purpose, verbs in VERBS.items():
    for verb in verbs:
        name = verb.__name__.rpartition(".")[2]
        app.command(name, epilog=f"Example: {verb.EXAMPLE}", rich_help_panel=purpose)(verb.command)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"expunge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Make a language model forget, and verify that it did. Start with: expunge demo"""
    verb = context.invoked_subcommand
    if verb not in IN_SEVERAL_PROCESSES and is_launched():
        raise InputError(f"{verb} runs in one process; start it without `accelerate launch`")


def main() -> None:
    """Run the command `expunge`."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    _log_visibly()
    # A user of the command line can do nothing about future changes in libraries.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|torch|peft")
    console = SafeConsole(stderr=True)
    try:
        code = app(standalone_mode=False) or 0
    except Exception as error:
        if DEBUG in os.environ and not is_expected(error):
            raise
        # Without any words Typer has printed the help.
        if text := sentence(error):
            console.print_line(f"expunge: {text}")
        sys.exit(exit_code(error))
    if code == INTERRUPTED:
        console.print_line("expunge: interrupted; repeat the command to resume")
    sys.exit(code)


def _log_visibly() -> None:
    """Print warnings of expunge and of libraries on standard error, one line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


if __name__ == "__main__":
    main()
