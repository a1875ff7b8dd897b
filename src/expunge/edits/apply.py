"""Put an edit on a model."""

from torch import nn

from expunge.config import EditSection
from expunge.edits import edit_named
from expunge.models.blocks import decoder_blocks


def apply_edit(model: nn.Module, settings: EditSection, base_sha256: str) -> nn.Module:
    """Put a fresh edit on a model and freeze everything else.

    Args:
        model: a causal LM, or one that carries earlier requests: these stay on, frozen.
        settings: the recipe's section.
        base_sha256: hash of the checkpoint of the model without requests; ReFT and GRUN edits store it.

    Raises:
        InputError: there is no such edit, `modules` matches nothing, the model has no such blocks, or the edit cannot be added to
            the requests that the model carries.
    """
    return edit_named(settings.name).apply(model, settings, base_sha256)


def freeze_above(model: nn.Module, block: int) -> None:
    """Freeze the parameters that come after a block in the order of the model's modules.

    An objective that reads the hidden states of the block gives those parameters no gradient.
    """
    name, _ = decoder_blocks(model)
    names = [path for path, _ in model.named_parameters()]
    last = max(i for i, path in enumerate(names) if path.startswith(f"{name}.{block}."))
    for _, parameter in list(model.named_parameters())[last + 1 :]:
        parameter.requires_grad_(False)
