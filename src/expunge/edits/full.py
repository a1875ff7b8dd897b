"""The `full` edit: change the weights themselves."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from expunge.config import EditSection
from expunge.edits.base import Edit
from expunge.edits.manifest import read_tensors
from expunge.errors import InputError
from expunge.models.text_part import text_names
from expunge.sandbox.search import matching

FULL_WEIGHTS = "weights.safetensors"


class Full(Edit):
    """Train all weights, or those whose names match `edit.modules`."""

    name = "full"
    description = "the weights themselves, all or those whose names match `modules`"
    epochs = 5
    lr = 1e-5
    removable = False
    mergeable = True

    def check(self, model: nn.Module, settings: EditSection) -> None:
        """Raise `InputError` if `modules` matches no weight, or the model carries earlier requests."""
        self.check_stacking(model)
        _matching(model, settings)

    def apply(self, model: nn.Module, settings: EditSection, base_sha256: str) -> nn.Module:
        """Make the matching weights trainable and freeze the others."""
        self.check_stacking(model)
        trained = _matching(model, settings)
        model.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
        return model


def write_weights(weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write changed weights into the folder of an edit."""
    save_file(dict(weights), folder / FULL_WEIGHTS)


def load_weights(model: nn.Module, folder: Path) -> None:
    """Load changed weights into the base model.

    Raises:
        InputError: the file is damaged, or the model has no weight of such a name and shape.
    """
    path, shapes = folder / FULL_WEIGHTS, {name: weight.shape for name, weight in model.named_parameters()}
    weights = read_tensors(path)
    for name, weight in weights.items():
        if shapes.get(name) != weight.shape:
            raise InputError(f"{path}: this model has no weight {name} of shape {tuple(weight.shape)}")
    model.load_state_dict(weights, strict=False)


def _matching(model: nn.Module, settings: EditSection) -> list[nn.Parameter]:
    weights = dict(model.named_parameters())
    names = text_names(model, weights)
    if settings.modules is not None:
        names = matching(settings.modules, names, "edit.modules")
    if not names:
        raise InputError(f"edit.modules: {settings.modules!r} matches no parameter of this model that a text goes through")
    return [weights[name] for name in names]
