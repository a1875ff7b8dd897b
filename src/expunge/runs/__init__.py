"""Run folders: create, open and load runs, split their records, and cache measurements."""
