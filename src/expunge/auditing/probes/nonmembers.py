"""Records that no model was trained on: what membership inference needs, and what is not made up where it is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

from expunge.data.fields import quoted
from expunge.data.records import Record, check_overlap
from expunge.errors import InputError


@dataclass(frozen=True)
class NonMembers:
    """Who is compared with the forget set.

    Attributes:
        records: never seen by the original, the unlearned model or the control; empty where none can be told to be so.
        why: one sentence for the report: where they come from, or why there are none and so no number.
    """

    records: list[Record]
    why: str


def nonmembers(
    seen: Sequence[Record], exam: Sequence[Record], holdout: Sequence[Record] | None = None, taught: Sequence[Record] | None = None
) -> NonMembers:
    """Choose the non-members.

    A holdout that the user vouches for comes first. Without one there are only the run's exam records. These were held out of the
    *unlearning*, which says nothing of the original: as a rule it was trained on what is to be kept as well (TOFU's was taught all
    authors), so they are members like the forget set, and an AUROC between the two would be near 0.5 whatever was forgotten. They are
    taken only where it is known what the original was taught, as for a task that taught it, and then only those not among it.
    Answers that the model gave itself are never taken: it finds them likely, never having been trained on them.

    Args:
        seen: every record of the run's forget and retain files.
        exam: the retain records held out of training; leave out those that the model made itself.
        holdout: records that nobody trained on, as the user says.
        taught: all that the original was taught; none: not known.

    Raises:
        InputError: a holdout record is among those seen or taught.
    """
    if holdout is not None:
        for record in holdout:
            if check_overlap([*seen, *(taught or ())], [record], "", "", allow=True):
                where = quoted(record.id) if record.line is None else f"{quoted(record.id)} in line {record.line}"
                raise InputError(f"the holdout's record {where} is also trained on; a holdout holds only what no model ever saw")
        return NonMembers(list(holdout), f"{len(holdout)} records of the holdout, which no model was trained on")
    if taught is None:
        return NonMembers([], "It is not known which records the original never saw; give some as a holdout.")
    unseen = [record for record in exam if not check_overlap(list(taught), [record], "", "", allow=True)]
    if not unseen:
        return NonMembers([], "The original was taught all held-out records too; give records that it never saw as a holdout.")
    return NonMembers(unseen, f"{len(unseen)} held-out retain records that the original was not taught")
