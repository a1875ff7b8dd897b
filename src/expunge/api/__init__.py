"""The Python API: the same verbs as the command line, with the same names and defaults."""

# What is heavy (torch, transformers, peft) is imported by the call that needs it: `expunge --help` answers at once.
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.api import given

if TYPE_CHECKING:
    from torch import nn

    from expunge.attestation import Check
    from expunge.auditing.suite import Suite
    from expunge.data.prompts import PromptBuilder
    from expunge.runs.folder import Run


def unlearn(
    model: str | Path = "smollm2-135m",
    *,
    forget: str | Path | dict[str, Any],
    retain: str | Path | None = None,
    edit: str | dict[str, Any] | None = None,
    objective: str | dict[str, Any] | None = None,
    out: str | Path | None = None,
    quantise: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    **sections: dict[str, Any],
) -> Run:
    """Make a model forget a file of records.

    Args:
        model: `smollm2-135m`, a local folder, a GGUF file or a hub id; or a run's folder, to add a request to those it carries.
        forget: records or documents to forget, as `expunge validate` accepts them; or `{"reveal": {…}}`, to have the model reveal them.
        retain: records whose answers should not change; None: the model's own answers to neutral instructions.
        edit: `full`, `lora`, `reft` or `grun`, or a mapping of the recipe's `edit` settings; None: the default recipe's.
        objective: a name of `expunge ls objectives`, or a mapping with `name` and its settings; None: the default recipe's.
        out: run folder; an interrupted run in it is resumed.
        quantise: load the model's linear layers in `nf4` or `int8`, for `grun`, `reft` and `lora`; None: as the model stores them.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`, see `expunge.models.placement.choose_placement`.
        dtype: of the frozen weights: `auto`, `bf16` or `fp32`.
        sections: further recipe sections, such as `training={"epochs": 10}`.

    Returns:
        The trained run; `audit` measures it.

    Raises:
        InputError: a file or a setting is wrong.
        ExpungeError: training failed.
    """
    from expunge.config.recipe import make_recipe
    from expunge.console import Display
    from expunge.pipeline.unlearn import unlearn as unlearn_run

    source = forget if isinstance(forget, dict) else str(forget)
    data = {**sections.pop("data", {}), "forget": source, "retain": None if retain is None else str(retain)}
    values: dict[str, Any] = {"model": str(model), "data": data, "out": None if out is None else str(out), **sections}
    values |= {} if quantise is None else {"quantise": quantise}
    if edit is not None:
        values["edit"] = {"name": edit} if isinstance(edit, str) else edit
    if objective is not None:
        values["objective"] = objective
    return unlearn_run(make_recipe(values), Display(), given.placement(device, dtype))


def reveal(recipe: str | Path | dict[str, Any], *, device: str = "auto", dtype: str = "auto") -> Run:
    """Search for instructions that make a model reveal what it knows of some topics. `release` continues from the run's `reveal` folder.

    Args:
        recipe: a recipe file, or its plain values, whose `data.forget` is `{"reveal": {…}}`. An oracle in it may be an object with a
            method `relevance(texts)`, or `expunge.oracles.CallableOracle(function)`.
        device: as for `unlearn`.
        dtype: as for `unlearn`.

    Raises:
        InputError: a file or a setting is wrong.
        ExpungeError: the model reveals too little.
    """
    from expunge.console import Display
    from expunge.pipeline.prepare import reveal_only

    return reveal_only(given.recipe(recipe), Display(), given.placement(device, dtype))


def release(recipe: str | Path | dict[str, Any], *, device: str = "auto", dtype: str = "auto") -> Run:
    """Remove what a model reveals, or a forget file, from its weights: subtract LoRA modules, round by round.

    Args:
        recipe: a recipe file, or its plain values, with a `release` section.
        device: as for `unlearn`.
        dtype: `auto` or `fp32`; the weights change, so that they are fp32.

    Raises:
        InputError: a file or a setting is wrong.
        ExpungeError: training failed, or the model reveals too little.
    """
    from expunge.console import Display
    from expunge.pipeline.release import release as release_run

    return release_run(given.recipe(recipe), Display(), given.placement(device, dtype))


def undo(run: Run | str | Path, to: int, *, model: str | Path | None = None, device: str = "auto", dtype: str = "auto") -> None:
    """Set a released model back to the state after an earlier round, or forward to a later one; 0 is the original.

    Raises:
        InputError: the run is not a release, it has no such round, or its modules were purged.
    """
    from expunge.console import Display
    from expunge.pipeline.release import undo as undo_rounds
    from expunge.runs.loaded import open_unchecked

    undo_rounds(open_unchecked(run if isinstance(run, str | Path) else run.folder, model), to, Display(), given.placement(device, dtype))


def export(run: Run | str | Path, to: str | Path, *, model: str | Path | None = None, device: str = "auto", dtype: str = "auto") -> Path:
    """Write a run's model as a plain checkpoint into a new folder.

    Args:
        run: of a release, or with a `full` or `lora` edit.
        to: the folder to create.
        model: as for `load`.
        device: to merge the edit on, as for `unlearn`.
        dtype: of the written weights: `auto` (that of the source, tensor by tensor), `bf16` or `fp32`.

    Raises:
        InputError: the edit depends on the prompt, the folder is there already, or the dtype is too narrow for the edit.
    """
    from expunge.console import Display
    from expunge.pipeline.export import export_plain

    return export_plain(given.opened(run, model), Path(to), Display(), device, dtype)


def purge(run: Run | str | Path) -> list[Path]:
    """Delete revealed texts, forget modules and the audit of a run, which all hold text to forget; return the deleted paths."""
    from expunge.reveal_release.reveal.private_files import purge as purge_folder
    from expunge.runs.folder import find_run, locked

    found_run = find_run(given.folder(run))
    with locked(found_run):
        return purge_folder(found_run.folder)


def audit(
    run: Run | str | Path,
    control: str | Path | None = None,
    suite: str | Path | Suite | None = None,
    *,
    max_records: int | None = None,
    show_text: bool = False,
    tasks: str | Sequence[str] = (),
    task_files: str | Path | None = None,
    task_limit: int | None = None,
    task_chat: bool = False,
    request: str | Path | None = None,
    previous: str | Path | None = None,
    sign: str | Path | None = None,
    model: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> Run:
    """Measure a run's unlearned, original and control model. Results are in `run.summary`, report.html and attestation.json.

    Args:
        run: a run or its folder.
        control: a model that never saw the forget set, or `auto`; without one nothing is compared with a control.
        suite: `quick`, `full`, a YAML file or a `Suite`: attacks to run, too; the verdict is in verdict.json, row by row.
        max_records: the most records of a set, drawn by seed; None: the suite's, or the recipe's.
        show_text: store and show questions and answers.
        tasks: names of lm-eval tasks to run on each model too, in a list or with commas between; needs the extra `lm-eval`.
        task_files: a folder with YAML of your own lm-eval tasks.
        task_limit: use only this many examples of each lm-eval task, the first ones.
        task_chat: put the prompts of lm-eval tasks into the chat template.
        request: for the attestation: YAML with any of `id`, `received`, `legal_basis`, `reference`, `deadline`.
        previous: for the attestation: that of another run, which this one continues.
        sign: for the attestation: PEM file of the Ed25519 private key that signs it; needs the extra `sign`.
        model: the run's model, if it was moved; it must be the one that the run recorded.
        device: as for `unlearn`.
        dtype: as for `unlearn`.

    Raises:
        InputError: the run is not trained, its files have changed, the suite, an lm-eval task, or a file for the attestation is faulty.
    """
    from dataclasses import replace

    from expunge.attestation import check_chain, read_details, write_attestation
    from expunge.auditing.audit import audit as audit_run
    from expunge.auditing.plan import AuditOptions
    from expunge.auditing.suite import read_suite
    from expunge.console import Display
    from expunge.models.ranks import is_first
    from expunge.reporting import write_report
    from expunge.reveal_release.release.round_results import check_rounds

    display, lm_eval_tasks = Display(), None
    details = read_details(given.path(request), given.path(previous), given.path(sign))
    if isinstance(suite, str | Path):
        suite = read_suite(str(suite))
    if tasks:
        from expunge.auditing.probes.lm_eval_tasks import read_tasks

        lm_eval_tasks = read_tasks(tasks.split(",") if isinstance(tasks, str) else tasks, given.path(task_files), task_limit, task_chat)
        details = replace(details, lm_eval=lm_eval_tasks.described)
    name, placement = None if control is None else str(control), given.placement(device, dtype)
    options = AuditOptions(name, max_records, show_text, suite, lm_eval_tasks, placement)
    with given.locked_run(run, model) as opened:
        check_chain(opened)
        check_rounds(opened)
        result = audit_run(opened, options, display)
        if is_first():
            write_report(result.run, result.records)
            with display.step("Writing the attestation"):
                write_attestation(result.run, result.splits, details)
    return result.run


def evaluate_gate(
    run: Run | str | Path,
    templates: str | Path | None = None,
    *,
    max_records: int | None = None,
    show_text: bool = False,
    model: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> dict[str, Any]:
    """Evaluate a run's gate on prompts that nothing was trained on; an audited run's report is written anew and shows it.

    Args:
        run: a run with a gated edit, or its folder.
        templates: YAML with prompt variants; None: those that expunge ships.
        max_records: the most records of a set, drawn by seed; None: the recipe's.
        show_text: store the prompts of the worst errors, with a score for each token.
        model: as for `audit`.
        device: as for `unlearn`.
        dtype: as for `unlearn`.

    Returns:
        What gate.json holds, see `expunge.auditing.gate_eval.evaluate_gate`.

    Raises:
        InputError: the run's edit has no gate, or a file is gone, faulty or has changed.
    """
    from expunge.auditing.gate_eval import evaluate_gate as evaluate
    from expunge.console import Display
    from expunge.data.prompt_templates import SHIPPED
    from expunge.reporting import write_report
    from expunge.runs.folder import AUDIT

    with given.locked_run(run, model) as opened:
        evaluation = evaluate(opened, Display(), given.path(templates) or SHIPPED, max_records, show_text, given.placement(device, dtype))
        if (opened.folder / AUDIT).exists():
            write_report(opened, evaluation.records)
    return evaluation.results


def verify(attestation: Run | str | Path, key: str | Path | None = None) -> list[Check]:
    """Recompute every hash of an attestation, offline. Nothing has changed if no check has the status `differs`.

    Args:
        attestation: its file, or a run or run folder (its newest attestation). The run's files are searched beside it, data and models
            at the recorded paths, from the current folder.
        key: PEM file of the public key that must have signed it.

    Returns:
        The checks in order, each with `name`, `status` (`ok`, `differs`, `not reachable`) and `detail`.

    Raises:
        InputError: if it is not an attestation, an unchanged file does not have the form that a run writes, or the key is not a key.
    """
    from expunge.attestation import ATTESTATION
    from expunge.attestation import verify as verify_attestation

    path = Path(attestation) if isinstance(attestation, str | Path) else attestation.folder
    return verify_attestation(path / ATTESTATION if path.is_dir() else path, given.path(key))


def load(
    run: Run | str | Path, *, model: str | Path | None = None, device: str = "auto", dtype: str = "auto"
) -> tuple[nn.Module, PromptBuilder]:
    """Return a run's model with its edit on, in evaluation mode, and the prompt builder that it was trained with.

    Args:
        run: a run or its folder.
        model: as for `audit`.
        device: as for `unlearn`.
        dtype: as for `unlearn`.

    Raises:
        InputError: the base model is not the one that the edit was trained on, or is not found.
    """
    from expunge.runs.loaded import load_run

    loaded = load_run(given.opened(run, model), given.placement(device, dtype))
    return loaded.model, loaded.builder
