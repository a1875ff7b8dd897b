"""What every edit has: a name, defaults for training, what can be done with it, and how it is put on a model."""

from abc import ABC, abstractmethod
from typing import ClassVar

from peft import PeftConfig, PeftModel, get_peft_model
from torch import nn

from expunge.config import EditSection
from expunge.edits.requests import REQUEST, requests, switch_on
from expunge.errors import InputError
from expunge.models.blocks import decoder_blocks


class Edit(ABC):
    """One way to change a model.

    Attributes:
        name: the value of `edit.name` in a recipe.
        description: one line for `expunge ls edits`.
        epochs: passes over the forget set if the recipe gives none.
        most_steps: optimiser steps after which they are fewer, though never less than one pass; None: they are never fewer.
        lr: learning rate if the recipe gives none.
        removable: whether the edit is stored beside the weights, so that it can be switched off.
        gated: whether a gate decides for which prompts the edit acts.
        mergeable: whether plain weights exist that are equal to the edited model.
        edits_block_outputs: whether the edit changes the outputs of some decoder blocks and no weights. If so, several requests
            add up, and everything before the first edited block can be computed once.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    epochs: ClassVar[float]
    most_steps: ClassVar[int | None] = None
    lr: ClassVar[float]
    removable: ClassVar[bool] = True
    gated: ClassVar[bool] = False
    mergeable: ClassVar[bool] = False
    edits_block_outputs: ClassVar[bool] = False

    @abstractmethod
    def check(self, model: nn.Module, settings: EditSection) -> None:
        """Raise `InputError` if the edit does not fit the model or the requests that the model carries."""

    @abstractmethod
    def apply(self, model: nn.Module, settings: EditSection, base_sha256: str) -> nn.Module:
        """Put a fresh edit on a model and freeze everything else; see `expunge.edits.apply.apply_edit`."""

    def trains_gate_first(self, settings: EditSection) -> bool:
        """Return whether the gate is trained and calibrated before the rest of the edit."""
        return False

    def blocks(self, model: nn.Module) -> tuple[int, ...]:
        """Return the blocks that the edit acts on; for an edit that has no such setting the middle one."""
        return (len(decoder_blocks(model)[1]) // 2,)

    def check_stacking(self, model: nn.Module) -> None:
        """Raise `InputError` if the model carries earlier requests that this edit cannot be added to."""
        if isinstance(model, PeftModel) and not self.edits_block_outputs:
            raise InputError(f"edit.name: {self.name} cannot be added to earlier requests; use reft or grun, whichever they use")


class PeftEdit(Edit):
    """An edit that is a PEFT adapter."""

    @abstractmethod
    def config(self, model: nn.Module, settings: EditSection, base_sha256: str = "") -> PeftConfig:
        """Return the adapter's PEFT configuration.

        Args:
            model: the base model, without adapters.
            settings: the recipe's section.
            base_sha256: hash of the base model's checkpoint.

        Raises:
            InputError: `modules` matches nothing.
            ValueError: a setting does not fit the model.
        """

    def check(self, model: nn.Module, settings: EditSection) -> None:
        """Raise `InputError` if the edit does not fit the model or the requests that the model carries."""
        self.check_stacking(model)
        self._checked_config(model, settings, "")

    def apply(self, model: nn.Module, settings: EditSection, base_sha256: str) -> nn.Module:
        """Add the adapter; the requests that the model carries stay on, frozen."""
        self.check_stacking(model)
        config = self._checked_config(model, settings, base_sha256)
        try:
            if not isinstance(model, PeftModel):
                return get_peft_model(model, config)
            model.add_adapter(REQUEST, config)
        except ValueError as error:
            raise InputError(f"edit: {error}") from error
        switch_on(model, requests(model), trained=REQUEST)
        return model

    def _checked_config(self, model: nn.Module, settings: EditSection, base_sha256: str) -> PeftConfig:
        try:
            return self.config(model.get_base_model() if isinstance(model, PeftModel) else model, settings, base_sha256)
        except ValueError as error:
            raise InputError(f"edit: {error}") from error
