"""Load the model of a run: its base, the requests it carries, its edit."""

from pathlib import Path

from torch import nn
from transformers import PreTrainedTokenizerBase

from expunge.data.prompts import PromptBuilder
from expunge.edits.requests import add_request
from expunge.edits.save import load_edit
from expunge.errors import WrongBase
from expunge.models.loading import load, weights_sha256
from expunge.runs.folder import Run, open_run


def load_run(run: Run) -> tuple[nn.Module, PromptBuilder]:
    """A run's model with its edit on, and its prompt builder.

    Raises:
        InputError: the base model is not the one that the edit was trained on.
    """
    model, builder = load_base(run)
    return load_edit(model, run.edit).eval(), builder


def load_base(run: Run) -> tuple[nn.Module, PromptBuilder]:
    """A run's model without its edit, and its prompt builder.

    Raises:
        InputError: it is not the model that the edit was trained on.
    """
    recipe = run.recipe
    model, tokenizer, _ = load_start(recipe.model)
    _check_base(run, weights_sha256(model))
    return model, PromptBuilder(tokenizer, recipe.data.system)


def load_start(name: str) -> tuple[nn.Module, PreTrainedTokenizerBase, str]:
    """The model that a recipe names, its tokenizer, and the hash of its weights without requests.

    Args:
        name: as `expunge.models.loading.load` takes it, or the folder of a run, whose model carries that run's request and
            those before it.

    Raises:
        InputError: a run is not trained yet, or is not of an edit that others can be added to.
    """
    name, earlier = below(name)
    model, tokenizer = load(name)
    bare_sha256 = weights_sha256(model)
    for number, run in enumerate(reversed(earlier), 1):
        _check_base(run, weights_sha256(model))
        model = add_request(model, run.edit, f"request{number}").eval()
    return model, tokenizer, bare_sha256


def below(name: str) -> tuple[str, list[Run]]:
    """The model below all requests that a recipe's `model` carries, and the runs of these, the latest first; errors as for `load_start`."""
    earlier: list[Run] = []
    while (Path(name) / "run.json").exists():
        earlier.append(open_run(name))
        name = earlier[-1].recipe.model
    return name, earlier


def _check_base(run: Run, found: str) -> None:
    was = run.info["model"]["sha256"]
    if found != was:
        raise WrongBase(f'"{run.folder}" was trained on another base model (weights {was[:4]}…, this one {found[:4]}…)')
