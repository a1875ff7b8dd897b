"""Edits: where a change of the model is stored (`full`, `lora`, `reft`, `grun`), and how it is applied, saved, loaded and switched off.

Each edit is described by one file; this table lists them. `expunge.edits.apply` puts an edit on a model, `expunge.edits.save` saves and
loads it, `expunge.edits.requests` adds and removes requests, `expunge.edits.active` switches edits off and reads their gates.
"""

from torch import nn

from expunge.config import EDIT_PRESETS, EditSection
from expunge.config.recipe import Recipe
from expunge.edits.base import Edit
from expunge.edits.full import Full
from expunge.edits.grun.edit import Grun
from expunge.edits.lora import Lora
from expunge.edits.reft import Reft
from expunge.errors import InputError
from expunge.models.quantised import check_bitsandbytes, check_trainable

EDITS: dict[str, Edit] = {edit.name: edit for edit in (Full(), Lora(), Reft(), Grun())}


def edit_named(name: str) -> Edit:
    """Return the edit of a name.

    Raises:
        InputError: there is none.
    """
    if name not in EDITS:
        raise InputError(f"edit.name: no edit {name!r}; there are {', '.join([*EDITS, *EDIT_PRESETS])}")
    return EDITS[name]


def edit_of(recipe: Recipe) -> Edit:
    """Return the edit that a recipe trains; a release leaves changed weights, as `full` does."""
    return EDITS["full"] if recipe.release is not None else edit_named(recipe.edit.name)


def check_settings(settings: EditSection) -> None:
    """Raise `InputError` if there is no such edit, or if it has no gate that can be trained first although the settings need one."""
    edit = edit_named(settings.name)
    if settings.gate_first and not edit.trains_gate_first(settings):
        raise InputError("edit.gate_first: needs name grun and a pooled gate, because only such a gate reads frozen states")
    if settings.answer_gate and not edit.trains_gate_first(settings):
        raise InputError("edit.answer_gate: needs name grun and a pooled gate that is trained before the edit")


def check_quantise(recipe: Recipe) -> None:
    """Raise `InputError` if a recipe wants the model quantised, and its edit cannot be trained on it or the package is missing."""
    if recipe.quantise is None:
        return
    if not edit_of(recipe).removable:
        raise InputError(
            f"quantise: a {recipe.edit.name} edit changes the weights themselves; choose grun, reft or lora, or leave quantise out"
        )
    check_bitsandbytes(f"quantise {recipe.quantise}")


def check_stored_form(recipe: Recipe, model: nn.Module, stored_in: str | None) -> None:
    """Raise `InputError` if a recipe cannot be trained on a model because of the form that its weights have.

    Args:
        recipe: with the edit.
        model: as it was loaded.
        stored_in: the method of quantisation of its checkpoint; None: it is not quantised.
    """
    if stored_in is not None and not edit_of(recipe).removable:
        what = "a release" if recipe.release is not None else f"a {recipe.edit.name} edit"
        raise InputError(f"model: is stored in {stored_in}, and {what} changes the weights themselves; give the unquantised model")
    check_trainable(model, "model")


def calibrates(recipe: Recipe) -> bool:
    """Return whether held-out records are needed to choose a gate's threshold, or a release's lambda."""
    return recipe.release is not None or edit_of(recipe).trains_gate_first(recipe.edit)


def descriptions() -> dict[str, str]:
    """Return one line on each edit and each preset, by name."""
    edits = {name: f"{edit.description}; default epochs {_passes(edit)}, lr {edit.lr:g}" for name, edit in EDITS.items()}
    return {**edits, **{name: preset.description for name, preset in EDIT_PRESETS.items()}}


def _passes(edit: Edit) -> str:
    return f"{edit.epochs:g}" + (f" (at most {edit.most_steps} steps)" if edit.most_steps else "")
