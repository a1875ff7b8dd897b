"""Reveal: the model tells what it knows, by instructions that a search finds (after arXiv 2509.14624)."""
