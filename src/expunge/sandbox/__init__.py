"""Sandbox: run Python code that a model wrote, and search for regular expressions that a user wrote, in processes with limits."""
