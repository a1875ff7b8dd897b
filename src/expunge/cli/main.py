"""The command `expunge`: its verbs grouped by purpose, its errors, its exit codes.

An error is one sentence on standard error. Exit codes: 0 (ok), 1 (the work failed), 2 (the input is wrong).
"""

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

VERBS = {
    "Start here": (demo,),
    "Make a model forget": (unlearn, run, reveal, release),
    "Verify that it forgot": (audit, gate, compare, verify),
    "Use the result": (chat, export, undo, purge),
    "Look up and check": (validate, ls),
}

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
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Make a language model forget, and verify that it did. Start with: expunge demo"""


def main() -> None:
    """Run the command `expunge`."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # A user of the command line can do nothing about future changes in libraries.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|torch|peft")
    console = Console(stderr=True)
    try:
        app()
    except ExpungeError as error:
        console.print(f"expunge: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except SystemExit as end:
        # Typer turns Ctrl-C into this exit code.
        if end.code == 130:
            console.print("expunge: interrupted; repeat the command to resume")
        raise


if __name__ == "__main__":
    main()
