"""The version of expunge."""

__version__ = "0.1.0"
