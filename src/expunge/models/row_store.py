"""`RowStore`: a cache of prefixes in main memory, up to a size limit (`training.prefix_cache_gib`); subclasses say what they store."""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from expunge.data.prompts import Batch, Encoded
from expunge.models.prefix import PrefixUnsupported, Start
from expunge.models.scoring import score

log = logging.getLogger(__name__)

Store = TypeVar("Store", bound="RowStore")


class RowStore(ABC):
    """A cache of prefixes: it returns the prefix of any batch, and computes only the rows that it does not hold yet.

    The key of a row is its token ids, so a row can never get another row's prefix. Tensors are cached in the dtype of the model. Each
    row is computed alone and without padding, because in a batch its last bits depend on the other rows. A resumed training may see a
    row for the first time in another batch than the uninterrupted training did, and must get the same bits.

    Args:
        model: without a distributed wrapper.
        block: the last block that does not run in a forward pass from a prefix.
        limit: bytes; rows that would exceed it are computed every time.
    """

    def __init__(self, model: nn.Module, block: int, limit: float):
        self.model = model
        self.block = block
        self.limit = limit
        self.size = 0
        self._full = False

    @abstractmethod
    def prefix(self, batch: Batch) -> Start:
        """Return the prefix of a batch, on the model's device."""

    @abstractmethod
    def _fill_row(self, row: Encoded) -> None:
        """Compute and store what is needed of a row, if it fits."""

    @abstractmethod
    def _holds_row(self, row: Encoded) -> bool: ...

    def holds(self, batch: Batch) -> bool:
        """Return whether the prefix of a batch is stored, so that nothing has to be computed for it."""
        return all(self._holds_row(row) for row in rows_of(batch))

    def fill(self, rows: Iterable[Encoded]) -> bool:
        """Store the prefixes of rows, up to the first that does not fit, and return whether all do."""
        for row in rows:
            self._fill_row(row)
            if not self._holds_row(row):
                return False
        return True

    def check(self, sample: Batch) -> None:
        """Check that a forward pass from a prefix gives the logits of the whole one.

        Args:
            sample: rows of different lengths.

        Raises:
            PrefixUnsupported: it does not.
        """
        parameter = next(self.model.parameters())
        sample = sample.to(parameter.device)
        expected = self._logits(sample)
        difference = ((self._logits(sample, prefix=self.prefix(sample)) - expected).norm() / expected.norm()).item()
        if not difference <= max(1e-4, 8 * torch.finfo(parameter.dtype).eps):
            raise PrefixUnsupported(f"from a prefix at block {self.block}, this model's logits differ by {difference:.2g} of their norm")

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.no_grad()
    def _logits(self, batch: Batch, **options: Any) -> Tensor:
        logits = score(self.model, batch, logits=True, **options).logits
        return logits.float()

    def _reserve(self, tensors: Sequence[Tensor]) -> bool:
        size = sum(tensor.nbytes for tensor in tensors)
        if self.size + size <= self.limit:
            self.size += size
            return True
        if not self._full:
            self._full = True
            gib = self.limit / 2**30
            log.warning("training.prefix_cache_gib: the limit of %.3g GiB is reached; further prefixes are computed in every epoch", gib)
        return False


def opened(make: Callable[[float], Store], limit: float, sample: Batch) -> Store:
    """Return an empty store, after a check on a sample; `make` makes one with a limit.

    Raises:
        PrefixUnsupported: as `RowStore.check`.
    """
    # Another store keeps the sample, because that is not computed in the dtype of autocast.
    make(math.inf).check(sample)
    return make(limit)


def rows_of(batch: Batch) -> list[Encoded]:
    """Return the token ids of a batch's rows, without padding."""
    ids, lengths = batch.input_ids.tolist(), batch.attention_mask[:, : batch.prompt_length].sum(-1).tolist()
    cut = batch.prompt_length
    answers = batch.attention_mask[:, cut:].sum(-1).tolist()
    return [
        Encoded(tuple(row[cut - length : cut]), tuple(row[cut : cut + answer]))
        for row, length, answer in zip(ids, lengths, answers, strict=True)
    ]


def single_row(prompt: tuple[int, ...], device: torch.device, answer: tuple[int, ...] = ()) -> Batch:
    """Return a batch of one row."""
    ids = torch.tensor([[*prompt, *answer]], device=device)
    return Batch(ids, torch.ones_like(ids), len(prompt))


def to_main_memory(part: Tensor) -> Tensor:
    """Return a copy in main memory; a view would hold the memory of the whole batch."""
    return part.to("cpu", copy=True, memory_format=torch.contiguous_format)
