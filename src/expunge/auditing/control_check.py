"""Check that the control is neither the original nor the unlearned model: against itself no model leaks."""

from collections.abc import Sequence
from dataclasses import replace
from math import isclose

from expunge.auditing.cross_checks import CROSS_CHECK
from expunge.auditing.measured import ByModel
from expunge.auditing.verdict import VerdictRow, always
from expunge.data.set_names import FORGET

UNFIT = "the control is unfit"
"""The first words of the reason of every row that an unfit control leaves without a verdict."""
ALIKE, ALIKE_NATS = 1e-4, 1e-3
"""Two models whose summed NLL differs by no more on any forget record (relative to its size, or in nats) are one model."""


def control_fault(by_model: ByModel, is_original: bool = False) -> str:
    """Return in one sentence why the control cannot be compared with; empty if it can.

    Args:
        by_model: the measured rows of each model.
        is_original: whether the control's weights are the original's, by their hash.
    """
    if is_original or _alike(by_model, "original"):
        return f"{UNFIT}: it is the original, which saw the forget set; give a model that never saw it, or --control auto"
    if _alike(by_model, "unlearned"):
        return f"{UNFIT}: it is the unlearned model itself; give a model that never saw the forget set, or --control auto"
    return ""


def without_control(rows: Sequence[VerdictRow], fault: str) -> list[VerdictRow]:
    """Return the rows with nothing passed by a comparison with the control, after a row that fails for its fault."""
    judged = [replace(row, verdict="not shown", reason=fault) if _rests_on_control(row) else row for row in rows]
    return [always("the control never saw the forget set", "", fault), *judged]


def _rests_on_control(row: VerdictRow) -> bool:
    return row.verdict == "pass" and (row.against == "control" or row.name.startswith(CROSS_CHECK))


def _alike(by_model: ByModel, name: str) -> bool:
    """Return whether the control gives every forget record the same likelihood as another model does."""
    of_control, of_other = (
        {row["id"]: row["nll"] for row in by_model.get(model, ()) if row["set"] == FORGET and row.get("nll") is not None}
        for model in ("control", name)
    )
    return bool(of_control) and all(
        id_ in of_other and isclose(nll, of_other[id_], rel_tol=ALIKE, abs_tol=ALIKE_NATS) for id_, nll in of_control.items()
    )
