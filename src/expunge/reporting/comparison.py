"""Several runs on one page: where each lies between forgetting and utility, its verdicts and its numbers beside the others'."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from expunge.attestation.read import read_audit_file
from expunge.attestation.schema_audit import Attacks, Audited
from expunge.reporting.figures import tradeoff_figure
from expunge.reporting.metric_rows import Summaries, number, rows
from expunge.reporting.svg import looks
from expunge.reporting.template import fill, metric_groups
from expunge.reporting.verdict_table import SIGNS, Verdict, counted, signed, why
from expunge.runs.folder import VERDICT, Run


def compared(runs: Sequence[Run]) -> dict[str, Any]:
    """The numbers of each run's unlearned model by its folder's name, with the original and the control of the first.

    Raises:
        InputError: a run was not audited yet, or its numbers are not in the form that an audit gives them.
    """
    summaries = [_summary(run) for run in runs]
    first = summaries[0]
    columns = {"original": first["original"]}
    for run, summary in zip(runs, summaries, strict=True):
        columns[str(run.folder)] = summary["unlearned"]
    if "control" in first:
        columns["control"] = first["control"]
    return columns


def comparison(runs: Sequence[Run]) -> str:
    """The page as text; errors as for `compared`."""
    methods = {str(run.folder): run.recipe.method for run in runs}
    same = len({run.info["data"]["forget"]["sha256"] for run in runs}) == 1
    return render(compared(runs), methods, {str(run.folder): judged_rows(run) for run in runs}, same)


def render(summary: Summaries, methods: Mapping[str, str], judged: Mapping[str, Sequence[Verdict]], same_forget: bool) -> str:
    """The page as text.

    Args:
        summary: as `compared` gives it.
        methods: of each run, in two words.
        judged: of each run the rows of its verdict; none where it was audited without a suite.
        same_forget: whether all runs forget the same records.
    """
    table = rows(summary)
    tradeoff = tradeoff_figure(summary)
    by_name = {run: {(row["threat"], row["name"]): row for row in own} for run, own in judged.items()}
    return fill(
        "comparison.html",
        title=f"{len(methods)} unlearning runs compared",
        methods=methods,
        judged=judged,
        tried=list(dict.fromkeys(key for own in by_name.values() for key in own)),
        by_name=by_name,
        counted=counted,
        same_forget=same_forget,
        tradeoff=None if tradeoff is None else Markup(tradeoff),
        groups=metric_groups(table),
        models=list(summary),
        looks=looks(summary),
        number=number,
        signs=SIGNS,
        why=why,
        signed=signed,
    )


def _summary(run: Run) -> dict[str, Any]:
    # Whoever sent the run may have written its numbers by hand.
    return {name: own for name, own in read_audit_file(run.numbers, Audited).model_dump().items() if own is not None}


def judged_rows(run: Run) -> list[dict[str, Any]]:
    """The rows of a run's verdict, none where it was audited without a suite.

    Raises:
        InputError: they are not in the form that an audit gives them.
    """
    path = run.folder / VERDICT
    return read_audit_file(path, Attacks).model_dump()["rows"] if path.exists() else []
