"""`expunge audit`: measure a run's models, attack them, and write the report and the attestation."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from expunge.cli.options import MovedModel
from expunge.cli.placement import Device, Dtype

EXAMPLE = "expunge audit runs/people --control models/never-saw --suite quick"
GATE_PANEL, TASKS_PANEL, ATTESTATION_PANEL = "Gate evaluation", "lm-eval tasks", "Attestation"


def command(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    control: Annotated[
        str | None,
        typer.Option(help="A model that never saw the forget set. auto: the original, on records that no model saw (audit.holdout)."),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="Also attack the models and give a verdict: quick, full, or your own YAML file."),
    ] = None,
    allow_fail: Annotated[bool, typer.Option("--allow-fail", help="Exit with 0 even if a row of the verdict fails.")] = False,
    show_text: Annotated[bool, typer.Option("--show-text", help="Store questions and answers and show them in the report.")] = False,
    max_records: Annotated[int | None, typer.Option(min=1, help="The most records of a set; they are drawn at random by the seed.")] = None,
    gate: Annotated[
        bool,
        typer.Option(
            "--gate",
            rich_help_panel=GATE_PANEL,
            help="Evaluate only the gate: how often it opens for each prompt variant. The report of an audited run shows it too.",
        ),
    ] = False,
    attacks: Annotated[
        Path | None, typer.Option(rich_help_panel=GATE_PANEL, help="With --gate: a YAML file with your own prompt variants.")
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=TASKS_PANEL,
            help="Also run these lm-eval tasks on each model: NAME or NAME,NAME… Needs the extra lm-eval.",
        ),
    ] = None,
    task_files: Annotated[
        Path | None, typer.Option(rich_help_panel=TASKS_PANEL, help="With --tasks: a folder with YAML files of your own lm-eval tasks.")
    ] = None,
    task_limit: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=TASKS_PANEL, help="With --tasks: use only the first examples of each, this many.")
    ] = None,
    task_chat: Annotated[
        bool, typer.Option("--task-chat", rich_help_panel=TASKS_PANEL, help="With --tasks: put the prompts into the chat template.")
    ] = False,
    request: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=ATTESTATION_PANEL,
            help="A YAML file about the deletion request, with any of id, received, legal_basis, reference, deadline.",
        ),
    ] = None,
    previous: Annotated[
        Path | None, typer.Option(rich_help_panel=ATTESTATION_PANEL, help="The attestation of an earlier run that this one follows.")
    ] = None,
    sign: Annotated[
        Path | None, typer.Option(rich_help_panel=ATTESTATION_PANEL, help="PEM file with the Ed25519 private key that signs it.")
    ] = None,
    model: MovedModel = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Measure the unlearned, the original and the control model on the same sets. Write the report and the attestation."""
    from expunge.cli.launched import is_launched
    from expunge.errors import InputError

    if attacks and not gate:
        raise InputError("--attacks: goes with --gate")
    if control and gate:
        raise InputError("--control: --gate evaluates the gate alone; leave out one of the two")
    if gate and suite:
        raise InputError("--suite: attacks the whole model; leave out --gate")
    if gate and tasks:
        raise InputError("--tasks: run on the whole model; leave out --gate")
    if (task_files or task_limit or task_chat) and not tasks:
        raise InputError("--task-files, --task-limit, --task-chat: go with --tasks")
    if (gate or tasks) and is_launched():
        raise InputError("--gate, --tasks: run in one process; start it without `accelerate launch`")
    if gate and (request or previous or sign):
        raise InputError("--request, --previous, --sign: are for the attestation, which --gate does not write; leave out --gate")
    if gate:
        _evaluate_gate(run, attacks, max_records, show_text, {"model": model, "device": device, "dtype": dtype})
        return
    from expunge.api import audit
    from expunge.auditing.verdict import read_verdict
    from expunge.cli.output import print_closing
    from expunge.cli.tables import print_summary, print_verdict
    from expunge.errors import ExpungeError
    from expunge.models.placement import choose_placement
    from expunge.models.ranks import is_first, shared_work

    with shared_work(choose_placement(device, dtype)) if is_launched() else nullcontext():
        audited = audit(
            run,
            control,
            suite,
            max_records=max_records,
            show_text=show_text,
            tasks=tasks or (),
            task_files=task_files,
            task_limit=task_limit,
            task_chat=task_chat,
            request=request,
            previous=previous,
            sign=sign,
            model=model,
            device=device,
            dtype=dtype,
        )
        if not is_first():
            return
    print_summary(audited)
    if suite is None:
        print_closing(audited, "Audited.")
        return
    rows = read_verdict(audited)
    print_verdict(rows)
    print_closing(audited, "Audited.")
    if (failed := [row["name"] for row in rows if row["verdict"] == "fail"]) and not allow_fail:
        raise ExpungeError(f"{len(failed)} of {len(rows)} rows fail, the first is: {failed[0]} (--allow-fail exits with 0 nevertheless)")


def _evaluate_gate(run: str, attacks: Path | None, max_records: int | None, show_text: bool, loading: dict[str, Any]) -> None:
    from expunge.api import evaluate_gate
    from expunge.cli.output import print_closing, standard_output
    from expunge.reporting.gate_table import print_gate
    from expunge.runs.folder import find_run

    results = evaluate_gate(run, attacks, max_records=max_records, show_text=show_text, **loading)
    print_gate(standard_output(), results)
    print_closing(find_run(run), "Evaluated the gate.")
