"""Release: what a model revealed is subtracted from its weights, round by round (after Xie et al., 2025, arXiv 2509.14624)."""
