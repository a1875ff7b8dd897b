"""Reveal: search for instructions that make a model reveal what must be forgotten (arXiv 2509.14624), after INSTINCT (arXiv 2310.02905).

`candidates` has the pool of soft prompts and handwritten instructions. `searchers`, `bandit` and `gepa` choose among them. `search` queries
the target and writes each step to a `search_log`. `responses` filters what was sampled, `select` makes the forget set of it.
`private_files` protects the texts.
"""
