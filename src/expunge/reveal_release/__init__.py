"""Reveal and release: unlearning with data that the model itself generates (Xie et al., 2025, arXiv 2509.14624).

`reveal` searches for instructions that make the model reveal what must be forgotten, and selects a forget set from its responses.
`release` trains LoRA modules on the forget set and subtracts them from the weights, in rounds.
"""
