"""Records that no model was trained on: the non-members of membership inference, and the stand-ins of the control `auto`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from expunge.config.recipe import Recipe
from expunge.data.overlap import shared_records
from expunge.data.records import Record, read_records
from expunge.errors import InputError, quoted
from expunge.runs.splits import Splits, draw


@dataclass(frozen=True)
class NonMembers:
    """Records that no model saw.

    Attributes:
        records: seen neither by the original nor by the unlearned model nor by the control; empty if no such record is known.
        why: one sentence for the report: the source of the records, or why there are none.
    """

    records: list[Record]
    why: str


def read_nonmembers(recipe: Recipe, splits: Splits) -> NonMembers:
    """Find the records of a run that no model saw.

    Raises:
        InputError: the holdout is faulty, or holds a record that was trained on.
    """
    path = recipe.audit.holdout
    holdout = None if path is None else read_records(path, recipe.data.map, recipe.data.split)
    retain_is_generated = recipe.data.retain is None and recipe.task is None
    # A text is seen as a whole, also where some of its passages are held out.
    texts = [record for record in (*splits.given_forget, *splits.given_retain) if not record.turns]
    seen = [*splits.forget, *splits.retain, *splits.calibration, *texts]
    taught = None if recipe.task is None else recipe.task.taught_records()
    found = nonmembers(seen, [] if retain_is_generated else splits.held_out, holdout, taught)
    if path is None:
        return found
    # Cut as the forget set is, with which they are compared.
    return replace(found, records=splits.cut(found.records, True, path))


def stand_ins(recipe: Recipe, splits: Splits) -> list[Record]:
    """Return records that no model saw, at most as many as forget records, under ids that no forget record has: for the control `auto`.

    Raises:
        InputError: there are none.
    """
    unseen = read_nonmembers(recipe, splits)
    if not unseen.records:
        raise InputError(f"--control auto: {unseen.why}")
    drawn = draw(unseen.records, len(splits.forget), recipe.training.seed)
    return [replace(record, id=f"never seen/{record.id}") for record in drawn]


def nonmembers(
    seen: Sequence[Record], held_out: Sequence[Record], holdout: Sequence[Record] | None = None, taught: Sequence[Record] | None = None
) -> NonMembers:
    """Choose the non-members.

    A holdout, which the user vouches for, comes first. Without one there are only the run's held-out retain records. They were held out
    of *unlearning*, but the original was usually trained on the whole retain set (TOFU's was taught all authors). Then they are
    members like the forget set, and an AUROC between the two would be near 0.5 whatever was forgotten. So they are used only if a task
    taught the original: then it is known which of them the original was not taught, and only those are used.
    Answers that the model generated are never used: it finds them likely although it was not trained on them.

    Args:
        seen: every record of the run's forget and retain files.
        held_out: the retain records held out of training; without those that the model generated.
        holdout: records that no model was trained on, as the user states.
        taught: everything that the original was taught; None: not known.

    Raises:
        InputError: a holdout record is among those seen or taught.
    """
    if holdout is not None:
        for record in shared_records([*seen, *(taught or ())], holdout):
            where = quoted(record.id) if record.line is None else f"{quoted(record.id)} in line {record.line}"
            raise InputError(f"the holdout's record {where} is also trained on; a holdout may only hold records that no model ever saw")
        return NonMembers(list(holdout), f"{len(holdout)} records of the holdout, which no model was trained on")
    if taught is None:
        return NonMembers([], "It is not known which records the original never saw; give such records as a holdout.")
    seen_too = {record.id for record in shared_records(taught, held_out)}
    unseen = [record for record in held_out if record.id not in seen_too]
    if not unseen:
        return NonMembers([], "The original was taught all held-out records too; give records that it never saw as a holdout.")
    return NonMembers(unseen, f"{len(unseen)} held-out retain records that the original was not taught")
