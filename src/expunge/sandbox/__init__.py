"""Sandbox: run Python code that a model wrote, in a confined process."""
