"""Studies and speed measurements; README.md lists them. Run one from the repository root with `python -m benchmarks.FOLDER.NAME`."""
