"""Choose the cache of prefixes for a training: which kind fits what is trained, or why there is none."""

import logging
from functools import partial

from torch import nn

from expunge.data.prompts import collate
from expunge.edits.active import entry_block, frozen_blocks, pooled_gate_logits
from expunge.edits.grun.model import ReftModel
from expunge.models.prefix import PrefixUnsupported
from expunge.models.prefix_store import open_lower_states_store, open_prefix_store
from expunge.models.row_store import RowStore
from expunge.training.inputs import PairCollator
from expunge.training.loss import Loss

log = logging.getLogger(__name__)


def open_prefixes(
    model: nn.Module, loss: Loss, collator: PairCollator, gib: float, sharded: bool, checkpointing: bool, warn: bool
) -> RowStore | None:
    """Return an empty cache of prefixes, or None if this training cannot use one; then a warning says why.

    Args:
        model: with its edit applied.
        loss: whose objective may read blocks.
        collator: of the records; the shortest and the longest prompt are the sample that is checked.
        gib: the limit of the cache.
        sharded: whether the model's weights are spread over processes.
        checkpointing: whether gradient checkpointing is on.
        warn: whether this process warns.
    """
    edits_outputs, frozen = any(isinstance(module, ReftModel) for module in model.modules()), frozen_blocks(model)
    if not edits_outputs and not frozen:
        # Every block is trained, so that there is nothing to start from.
        return None
    rows = sorted(collator.records.forget, key=lambda row: len(row.prompt))
    sample = collate([rows[0], rows[-1]], collator.pad)
    try:
        if checkpointing:
            raise PrefixUnsupported(
                "gradient checkpointing does not work with a KV cache" if edits_outputs else "gradient checkpointing is on"
            )
        if sharded:
            raise PrefixUnsupported("the model is sharded")
        first = entry_block(model) if edits_outputs else frozen
        if loss.blocks and min(loss.blocks) < first:
            raise PrefixUnsupported(f"the objective reads block {min(loss.blocks)}, below the first edited block")
        if edits_outputs:
            return open_prefix_store(model, first, partial(pooled_gate_logits, model), gib * 2**30, sample)
        return open_lower_states_store(model, first - 1, gib * 2**30, sample)
    except PrefixUnsupported as reason:
        if warn:
            log.warning("The prefix cache is off: %s.", reason)
        return None
