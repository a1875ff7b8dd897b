"""Several runs on one page: where each lies between forgetting and utility, its verdicts and its numbers beside the others'."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from expunge.audit.record.made import method
from expunge.audit.report.drawing import looks
from expunge.audit.report.figures import tradeoff_figure
from expunge.audit.report.judged import SIGNS, Verdict, counted, signed, why
from expunge.audit.report.page import fill, metric_groups
from expunge.audit.report.rows import Summaries, number, rows
from expunge.audit.verdict import VERDICT
from expunge.run import Run


def compared(runs: Sequence[Run]) -> dict[str, Any]:
    """The numbers of each run's unlearned model by its folder's name, with the original and the control of the first.

    Raises:
        InputError: a run was not audited yet.
    """
    first = runs[0].summary
    columns = {"original": first["original"]}
    for run in runs:
        columns[str(run.folder)] = run.summary["unlearned"]
    if "control" in first:
        columns["control"] = first["control"]
    return columns


def comparison(runs: Sequence[Run]) -> str:
    """The page as text.

    Raises:
        InputError: a run was not audited yet.
    """
    methods = {str(run.folder): method(run.recipe) for run in runs}
    same = len({run.info["data"]["forget"]["sha256"] for run in runs}) == 1
    return render(compared(runs), methods, {str(run.folder): _judged(run) for run in runs}, same)


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


def _judged(run: Run) -> list[dict[str, Any]]:
    path = run.folder / VERDICT
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
