"""Hold the hidden states of many prompts: up to a limit in main memory, the others in files that the system reads when they are used."""

import torch
from torch import Tensor

from expunge.config import EditSection
from expunge.edits.grun.gate import gate_input
from expunge.files import scratch_memory

CHUNK = 2**28
"""Bytes of a file."""
ALIGNED = 16
"""Bytes that a tensor of any dtype may begin at a multiple of."""


def stored_input(states: Tensor, settings: EditSection) -> Tensor:
    """Return hidden states as a pooled gate reads them, in half precision if they are normalised: every token of many prompts is stored."""
    # States that are not normalised may overflow half precision.
    return gate_input(states, settings.gate_layer_norm).to(torch.float16 if settings.gate_layer_norm else torch.float32)


class StateStore:
    """Holds what a gate trains on.

    Args:
        settings: of the edit; `gate_layer_norm` and `gate_states_gib` are read.
    """

    def __init__(self, settings: EditSection) -> None:
        self._settings, self._left = settings, settings.gate_states_gib * 2**30
        self._chunk, self._used = torch.empty(0, dtype=torch.uint8), 0

    def __call__(self, states: Tensor) -> Tensor:
        """Return the hidden states of a prompt, (tokens, hidden), as `stored_input` does; the result is in main memory or in a file."""
        held = stored_input(states, self._settings).cpu()
        if held.nbytes <= self._left:
            self._left -= held.nbytes
            return held
        if self._used + held.nbytes > len(self._chunk):
            self._chunk, self._used = torch.frombuffer(scratch_memory(max(CHUNK, held.nbytes)), dtype=torch.uint8), 0
        place = self._chunk[self._used : self._used + held.nbytes].view(held.dtype).view(held.shape)
        self._used += -(-held.nbytes // ALIGNED) * ALIGNED
        return place.copy_(held)
