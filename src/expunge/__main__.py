"""`python -m expunge` and `accelerate launch -m expunge`."""

from expunge.cli.main import main

main()
