"""Generate records about fictitious people for demos and tests; all names, lives and works are invented."""

from expunge.data.people.generator import neighbours, people

__all__ = ["neighbours", "people"]
