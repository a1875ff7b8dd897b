"""Audit a run: plan, measure the three models, run attacks and other probes, summarise, and give a verdict."""
