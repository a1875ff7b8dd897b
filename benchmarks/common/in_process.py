"""Run an expunge command in this process, for scripts that count what it does."""

import sys
from collections.abc import Sequence

from expunge.cli.main import main


def run_command(words: Sequence[str]) -> None:
    """Run a command as the command line does.

    Raises:
        SystemExit: it failed.
    """
    sys.argv = ["expunge", *words]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
