"""Open a run and load its model once, at the door of a verb: everything further on is handed what was read here."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

from torch import nn
from transformers import PreTrainedTokenizerBase

from expunge.config import DataSection
from expunge.config.recipe import Recipe
from expunge.data.prompts import PromptBuilder
from expunge.documents import read_text
from expunge.edits.requests import add_request
from expunge.edits.save import load_edit
from expunge.errors import InputError
from expunge.models.file_hashes import models_with
from expunge.models.identified import load_identified, with_template
from expunge.models.identity import ModelIdentity, check_same_base, with_edits
from expunge.models.placement import Placement, choose_placement
from expunge.models.sources import check_model_exists
from expunge.runs.edit_record import check_edit, edit_record
from expunge.runs.folder import INFO, RECIPE, TEMPLATE, Run, find_run


@dataclass(frozen=True)
class OpenedRun(Run):
    """A run with its recipe and the facts of its run.json, each read once.

    Attributes:
        recipe: every setting, with the defaults written out.
        info: versions, hashes, counts and status.
    """

    recipe: Recipe
    info: dict[str, Any]

    @property
    def edit_manifest(self) -> str:
        """The SHA-256 of the edit's manifest that run.json records.

        Raises:
            InputError: nothing is recorded, or the record is damaged.
        """
        return edit_record(self.folder, self.info).manifest

    def updated(self, **facts: Any) -> Self:
        """Add facts to run.json and return the run with them."""
        return replace(self, info=self.update_info(**facts))


@dataclass(frozen=True)
class LoadedRun(OpenedRun):
    """An opened run with its model in memory.

    Attributes:
        model: in evaluation mode, with or without the run's edit.
        builder: prompt builder with the model's tokenizer.
        identity: of the model before the run's edit; it is the one that the run was trained on.
    """

    model: nn.Module
    builder: PromptBuilder
    identity: ModelIdentity

    def with_edit(self) -> Self:
        """Put the run's edit on the model, in place, and return the run with it.

        Raises:
            InputError: the edit is not the recorded one, or it was trained on another base model.
        """
        return replace(self, model=load_edit(self.model, self.edit, self.identity, self.edit_manifest).eval())


@dataclass(frozen=True)
class StartModel:
    """The model that a run starts from.

    Attributes:
        model: with the requests that it carries, in evaluation mode.
        tokenizer: of the model.
        bare_sha256: hash of the checkpoint, without requests.
        identity: of the model with them.
        stored_in: the method of quantisation of a checkpoint that is stored quantised.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    bare_sha256: str
    identity: ModelIdentity
    stored_in: str | None = None


def open_run(folder: str | Path, model: str | Path | None = None) -> OpenedRun:
    """Open an existing run whose training is complete, and check that its edit is the one that training recorded.

    Args:
        folder: of the run.
        model: where the run's model is now; None: where its recipe says, or see `located_model`.

    Raises:
        InputError: there is no run, it has no trained edit yet, or the edit is damaged.
    """
    run = open_unchecked(folder, model)
    check_edit(run, run.info)
    return run


def open_unchecked(folder: str | Path, model: str | Path | None = None) -> OpenedRun:
    """Open an existing run whose training is complete, for a verb that does not read its edit; for `model` see `open_run`.

    Raises:
        InputError: there is no run, or it has no trained edit yet.
    """
    run = find_run(folder)
    info = run.read_info()
    if info["status"] == "training":
        raise InputError(f"{folder}: its training is not complete; repeat the command that started it, which resumes it")
    recipe = run.read_recipe()
    return OpenedRun(run.folder, recipe if model is None else recipe.model_copy(update={"model": str(model)}), info)


def load_run(run: OpenedRun, placement: Placement | None = None) -> LoadedRun:
    """Load a run's model with its edit on; `placement` as `expunge.models.loading.load` takes it.

    Raises:
        InputError: the base model is not the one that the edit was trained on.
    """
    return load_base(run, placement).with_edit()


def load_base(run: OpenedRun, placement: Placement | None = None) -> LoadedRun:
    """Load a run's model without its edit; `placement` as `expunge.models.loading.load` takes it.

    Raises:
        InputError: it is not the model that the edit was trained on.
    """
    placement = replace(placement or choose_placement(), quantise=run.recipe.quantise)
    start = load_start(located_model(run), placement, chat_template(run), run.folder / TEMPLATE)
    check_base(run, start.identity)
    builder = prompt_builder(start.tokenizer, run.recipe)
    return LoadedRun(run.folder, run.recipe, run.info, start.model, builder, start.identity)


def prompt_builder(tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> PromptBuilder:
    """Return the prompt builder of a recipe's settings."""
    return PromptBuilder(tokenizer, recipe.data.system, recipe.data.template_args, recipe.audit.max_thinking_tokens)


def chat_template(run: OpenedRun) -> str | None:
    """Return the chat template that a run was trained with; None if it is the model's own.

    Raises:
        InputError: the run's copy is gone or cannot be read.
    """
    return None if run.recipe.data.template is None else read_text(run.folder / TEMPLATE)


def load_start(name: str, placement: Placement | None = None, template: str | None = None, source: str | Path = "") -> StartModel:
    """Load the model that a recipe names.

    Args:
        name: as `expunge.models.loading.load` takes it, or the folder of a run, whose model carries that run's request and
            those before it.
        placement: as `expunge.models.loading.load` takes it.
        template: a chat template in place of the model's own.
        source: the file of the template.

    Raises:
        InputError: a run is not trained yet, or its edit is of a kind that others cannot be added to.
    """
    name, earlier = base_of(name)
    _check_same_form(earlier, None if placement is None else placement.quantise)
    base = with_template(load_identified(name, placement), template, source)
    model, identity = cast(nn.Module, base.model), base.identity
    manifests: list[str] = []
    for number, run in enumerate(reversed(earlier), 1):
        check_base(run, identity)
        model = add_request(model, run.edit, f"request{number}", recorded=run.edit_manifest).eval()
        manifests.append(run.edit_manifest)
        identity = replace(base.identity, checkpoint=with_edits(base.identity.checkpoint, manifests))
    return StartModel(model, base.tokenizer, base.identity.checkpoint, identity, base.stored_in)


def base_of(name: str) -> tuple[str, list[OpenedRun]]:
    """Return the base model below all requests that a recipe's `model` carries, and the runs of these requests, the latest first.

    Raises:
        InputError: one of these runs is not trained yet.
    """
    earlier: list[OpenedRun] = []
    seen = set[Path]()
    while (Path(name) / INFO).exists():
        if (folder := Path(name).resolve()) in seen:
            raise InputError(f"{name}: is a request on itself: its recipe's `model` leads back to it; name the base model there")
        seen.add(folder)
        earlier.append(open_run(name))
        name = located_model(earlier[-1])
    return name, earlier


def _check_same_form(earlier: list[OpenedRun], quantise: str | None) -> None:
    """Raise `InputError` if a request was trained on the model in another form than it is loaded in now."""
    for run in earlier:
        if (trained := run.recipe.quantise) != quantise:
            what = "a model that was not quantised" if trained is None else f"a model in {trained}"
            raise InputError(f"quantise: {run.folder} was trained on {what}; {f'give {trained}' if trained else 'leave quantise out'}")


def located_model(run: OpenedRun) -> str:
    """Return where a run's model is: where its recipe says, or else where a model with the recorded checkpoint was last loaded.

    Raises:
        InputError: it is in none of these places.
    """
    name = run.recipe.model
    if (Path(name) / INFO).exists():
        return name
    try:
        check_model_exists(name)
    except InputError as error:
        found = next((path for path in models_with(recorded_base(run).checkpoint) if path.exists()), None)
        if found is None:
            how = "if it was moved, name its new place with --model; what is there is compared with what the run recorded"
            raise InputError(f"{error}, and no copy of the model of {run.folder} is known here; {how}") from error
        return str(found)
    return name


def base_facts(start: StartModel, recipe: Recipe) -> dict[str, Any]:
    """Return what run.json records of the model that a run starts from.

    Args:
        start: the model.
        recipe: with its name, and with the system message and the arguments of the chat template, which are part of every prompt.
    """
    forms = {name: form for name, form in (("quantise", recipe.quantise), ("stored_in", start.stored_in)) if form is not None}
    return {"name": recipe.model, "sha256": start.identity.sha256, "parts": start.identity.parts, **_prompt_facts(recipe.data), **forms}


def recorded_base(run: OpenedRun) -> ModelIdentity:
    """Return the identity of the model that a run was trained on, from its run.json.

    Raises:
        InputError: it is not recorded, or not as a run records it.
    """
    identity = _recorded(run, "model")
    if identity is None:
        how = f"repeat the run in another folder: expunge run {run.folder / RECIPE} --out FOLDER"
        what = "does not record the base model by the hash of its checkpoint, as earlier versions did not"
        raise InputError(f"{run.folder / INFO}: {what}; {how}")
    return identity


def recorded_control(run: OpenedRun) -> ModelIdentity | None:
    """Return the identity of the control model of a run's audit, from its run.json; None if the audit had none."""
    return _recorded(run, "control_model")


def _recorded(run: OpenedRun, name: str) -> ModelIdentity | None:
    facts = run.info.get(name)
    if not isinstance(facts, dict):
        return None
    identity = ModelIdentity.from_parts(facts.get("parts"))
    return identity if identity is not None and facts.get("sha256") == identity.sha256 else None


def check_base(run: OpenedRun, identity: ModelIdentity) -> None:
    """Check that a model, and what the recipe adds to every prompt, are those that a run was trained on.

    Args:
        run: with the facts of its run.json.
        identity: of the model to compare.

    Raises:
        WrongBase: the model is another one; the sentence names the parts that differ.
        InputError: the recipe's `quantise`, system message or template arguments have changed, or the base model is not recorded.
    """
    check_same_base(str(run.folder), recorded_base(run), identity)
    if run.info["model"].get("quantise") != run.recipe.quantise:
        raise InputError(f"{run.folder / RECIPE}: quantise has changed since the run was trained; set it back")
    for fact, sha256 in _prompt_facts(run.recipe.data).items():
        if run.info["model"].get(fact) != sha256:
            setting = {"system_message": "data.system"}.get(fact, f"data.{fact}")
            raise InputError(f"{run.folder / RECIPE}: {setting} has changed since the run was trained; set it back")


def _prompt_facts(data: DataSection) -> dict[str, str | None]:
    """Return the hashes of what a recipe adds to every prompt; None for what it does not set."""
    system = None if data.system is None else data.system.encode(errors="surrogatepass")
    args = json.dumps(data.template_args, sort_keys=True).encode() if data.template_args else None
    return {
        name: None if content is None else hashlib.sha256(content).hexdigest()
        for name, content in (("system_message", system), ("template_args", args))
    }
