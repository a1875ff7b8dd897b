"""Compare several runs on one HTML page: forgetting against utility, verdicts and metrics side by side."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from expunge.attestation.read import read_audit_file
from expunge.attestation.schema_audit import Attacks
from expunge.errors import InputError
from expunge.files import open_regular, write_text
from expunge.reporting.figures import tradeoff_figure
from expunge.reporting.metric_rows import Summaries, number, rows
from expunge.reporting.svg import looks
from expunge.reporting.template import fill, metric_groups
from expunge.reporting.verdict_table import SIGNS, Verdict, count_verdicts, short_reason, signed
from expunge.runs.facts import AuditJson
from expunge.runs.folder import VERDICT, Run
from expunge.runs.loaded import OpenedRun

GENERATOR = "expunge compare"
"""Marks the page in its head, so that a later comparison may replace it."""
HEAD = 1000
"""The mark is in so many first bytes."""


def write_comparison(path: Path, runs: Sequence[OpenedRun]) -> None:
    """Write the page of some runs to a file, which may be an earlier page but no other file.

    Raises:
        InputError: there is something else at the path, or as `compared_metrics`.
        ExpungeError: another process is writing the page, or the disk is full.
    """
    if os.path.lexists(path):
        with open_regular(path) as file:
            if f'content="{GENERATOR}"'.encode() not in file.read(HEAD):
                raise InputError(f"{path}: is a file that `expunge compare` did not write; name another one with --html, or remove it")
    write_text(path, comparison_page(runs), exclusive=True)


def compared_metrics(runs: Sequence[OpenedRun]) -> dict[str, Any]:
    """Return the metrics of each run's unlearned model by run folder, with the original and the control of the first run.

    Raises:
        InputError: if a run was not audited yet, or its audit.json does not have the form that an audit writes.
    """
    summaries = [_summary(run) for run in runs]
    first = summaries[0]
    columns = {"original": first["original"]}
    for run, summary in zip(runs, summaries, strict=True):
        columns[str(run.folder)] = summary["unlearned"]
    if "control" in first:
        columns["control"] = first["control"]
    return columns


def comparison_page(runs: Sequence[OpenedRun]) -> str:
    """Return the page as HTML; raises as `compared_metrics`."""
    methods = {str(run.folder): run.recipe.method for run in runs}
    same = len({run.info["data"]["forget"]["sha256"] for run in runs}) == 1
    return render(compared_metrics(runs), methods, {str(run.folder): verdict_rows(run) for run in runs}, same)


def render(summary: Summaries, methods: Mapping[str, str], verdict_rows: Mapping[str, Sequence[Verdict]], same_forget: bool) -> str:
    """Return the page as HTML.

    Args:
        summary: as `compared_metrics` returns it.
        methods: {run: its method's name}.
        verdict_rows: {run: the rows of its verdict}; no rows if it was audited without a suite.
        same_forget: whether all runs forget the same records.
    """
    table = rows(summary)
    tradeoff = tradeoff_figure(summary)
    by_name = {run: {(row["threat"], row["name"]): row for row in run_rows} for run, run_rows in verdict_rows.items()}
    return fill(
        "comparison.html",
        generator=GENERATOR,
        title=f"{len(methods)} unlearning runs compared",
        methods=methods,
        verdict_rows=verdict_rows,
        tests=list(dict.fromkeys(key for run_rows in by_name.values() for key in run_rows)),
        by_name=by_name,
        count_verdicts=count_verdicts,
        same_forget=same_forget,
        tradeoff=None if tradeoff is None else Markup(tradeoff),
        groups=metric_groups(table),
        models=list(summary),
        looks=looks(summary),
        number=number,
        signs=SIGNS,
        short_reason=short_reason,
        signed=signed,
    )


def _summary(run: Run) -> dict[str, Any]:
    # The run may come from another person, who may have written its numbers by hand, so they are checked.
    return {model: sets for model, sets in read_audit_file(run.audit_file, AuditJson).model_dump().items() if sets is not None}


def verdict_rows(run: Run) -> list[dict[str, Any]]:
    """Return the rows of a run's verdict; none if it was audited without a suite.

    Raises:
        InputError: if verdict.json does not have the form that an audit writes.
    """
    path = run.folder / VERDICT
    return read_audit_file(path, Attacks).model_dump()["rows"] if path.exists() else []
