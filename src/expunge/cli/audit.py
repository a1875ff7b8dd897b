"""`expunge audit`: measure a run's models, write its report."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "expunge audit runs/people --control models/never-saw --suite quick"


def command(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    control: Annotated[
        str | None,
        typer.Option(
            help="A model that never saw the forget set; auto: the original, asked for records that no model saw (audit.holdout)."
        ),
    ] = None,
    show_text: Annotated[bool, typer.Option("--show-text", help="Keep and show questions and answers.")] = False,
    max_rows: Annotated[int | None, typer.Option(min=1, help="Records a set, drawn by seed.")] = None,
    gate: Annotated[
        bool,
        typer.Option("--gate", help="Examine the gate instead: what it opens for, in every variant; an audited run's report shows it too."),
    ] = False,
    attacks: Annotated[Path | None, typer.Option(help="With --gate: YAML with prompt attacks of your own.")] = None,
    request: Annotated[
        Path | None, typer.Option(help="For the record: YAML with any of id, received, legal_basis, reference, deadline.")
    ] = None,
    previous: Annotated[Path | None, typer.Option(help="For the record: that of another run, which it follows.")] = None,
    suite: Annotated[
        str | None, typer.Option(help="Attack the models too and give a verdict: quick, full, or a YAML file of your own.")
    ] = None,
    allow_fail: Annotated[bool, typer.Option("--allow-fail", help="Exit with 0 also where a row of the verdict fails.")] = False,
    tasks: Annotated[
        str | None, typer.Option(help="Tasks of lm-evaluation-harness to put to each model, NAME or NAME,NAME…; needs the extra lm-eval.")
    ] = None,
    task_files: Annotated[Path | None, typer.Option(help="With --tasks: a folder with YAML of tasks of your own.")] = None,
    task_limit: Annotated[int | None, typer.Option(min=1, help="With --tasks: the first so many examples of each.")] = None,
    task_chat: Annotated[bool, typer.Option("--task-chat", help="With --tasks: put prompts into the chat template.")] = False,
    sign: Annotated[Path | None, typer.Option(help="For the record: PEM of an Ed25519 private key to sign it with.")] = None,
) -> None:
    """Measure the unlearned, the original and the control model on the same sets, and write the report and the record."""
    from expunge.cli.shared import closing, output, show_table, show_verdict
    from expunge.console import Display
    from expunge.errors import InputError
    from expunge.runs.folder import open_run

    if attacks and not gate:
        raise InputError("--attacks: goes with --gate")
    if control and gate:
        raise InputError("--control: the exam of a gate asks the gate alone; leave it out, or leave out --gate")
    if gate and suite:
        raise InputError("--suite: attacks the whole model; leave out --gate")
    if gate and tasks:
        raise InputError("--tasks: are put to the whole model; leave out --gate")
    if (task_files or task_limit or task_chat) and not tasks:
        raise InputError("--task-files, --task-limit, --task-chat: go with --tasks")
    if gate and (request or previous or sign):
        raise InputError("--request, --previous, --sign: are for the record, which the exam of a gate does not write; leave out --gate")
    if gate:
        from expunge.auditing.gate_eval import examine_gate
        from expunge.data.prompt_templates import SHIPPED
        from expunge.reporting.gate_table import print_gate

        examined = open_run(run)
        print_gate(output(), examine_gate(examined, Display(), attacks or SHIPPED, max_rows, show_text))
        closing(examined, "Examined.")
        return
    from expunge.api import audit
    from expunge.auditing.verdict import read_verdict
    from expunge.errors import ExpungeError

    audited = audit(
        run,
        control,
        suite,
        max_rows=max_rows,
        show_text=show_text,
        tasks=tasks or (),
        task_files=task_files,
        task_limit=task_limit,
        task_chat=task_chat,
        request=request,
        previous=previous,
        sign=sign,
    )
    show_table(audited)
    if suite is None:
        closing(audited, "Audited.")
        return
    rows = read_verdict(audited)
    show_verdict(rows)
    closing(audited, "Audited.")
    if (wrong := [row["name"] for row in rows if row["verdict"] == "fail"]) and not allow_fail:
        raise ExpungeError(f"{len(wrong)} of {len(rows)} rows fail, the first is: {wrong[0]} (--allow-fail goes on all the same)")
