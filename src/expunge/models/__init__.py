"""Models: load them, score and generate answers, cache prompts, find blocks and the output head."""
