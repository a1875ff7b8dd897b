"""Attacks on a model that was made to forget: what somebody may try who wants the answer all the same."""
