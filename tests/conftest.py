"""Fixtures for all tests: two pinned threads, no downloads, the embedded model."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def smollm2():
    """(model, tokenizer): the embedded model, which `make test` has fetched and converted."""
    from expunge.models.loading import load

    return load("smollm2-135m")
