"""Data: records and how to read them, prompts and batches, multiple-choice questions, shipped texts, fictitious people."""
