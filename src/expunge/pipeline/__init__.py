"""Whole commands from start to end: prepare, unlearn, release, export, teach, demo."""
