"""From what was measured and attacked to the rows of a verdict."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from expunge.auditing.record_metrics import Row
from expunge.auditing.suite import Allowed
from expunge.auditing.verdict import Judged, Values, judge
from expunge.data.set_names import FORGET, PARAPHRASE, RETAIN, is_forget
from expunge.metrics.text import ROUGE

TOLD_PLAINLY = {FORGET: "asked as given", FORGET + PARAPHRASE: "asked in other words"}

ByModel = Mapping[str, Sequence[Row]]


def judgements(by_model: ByModel, allowed: Allowed, near: Collection[str] = ()) -> list[Judged]:
    """Return the rows of the verdict that the measured sets decide; probes have further rows.

    Args:
        by_model: rows of `expunge.auditing.measure`, of `unlearned`, `original`, and perhaps `control`.
        allowed: how much worse the unlearned model may be.
        near: ids of the retain records that are nearest to the forget set.
    """
    return [*_asked(by_model, allowed), *_kept(by_model, allowed, near)]


def _asked(by_model: ByModel, allowed: Allowed) -> Iterable[Judged]:
    for name in _sets(by_model, is_forget):
        told = _values(by_model, [name], "rouge")
        yield judge(TOLD_PLAINLY.get(name, f"asked: {name}"), ROUGE, told, "control", allowed.told, "API only")
    gibberish = _values(by_model, _sets(by_model, is_forget), "degenerate")
    against = "control" if "control" in by_model else "original"
    yield judge("gibberish where asked for what was forgotten", "degenerate answers", gibberish, against, allowed.gibberish)


def _kept(by_model: ByModel, allowed: Allowed, near: Collection[str]) -> Iterable[Judged]:
    kept = _sets(by_model, lambda name: not is_forget(name))
    for name in kept:
        told = _values(by_model, [name], "rouge")
        yield judge(f"kept: {name}", ROUGE, told, "original", allowed.lost, lower_is_worse=True)
    nearest = {model: [row for row in rows if row["set"] == RETAIN and row["id"] in near] for model, rows in by_model.items()}
    if nearest["unlearned"]:
        told = _values(nearest, [RETAIN], "rouge")
        yield judge("kept: nearest to what was forgotten", ROUGE, told, "original", allowed.lost, lower_is_worse=True)
    yield judge("gibberish elsewhere", "degenerate answers", _values(by_model, kept, "degenerate"), "original", allowed.gibberish)
    yield judge("refusals elsewhere", "refusals", _values(by_model, kept, "refusal"), "original", allowed.refused)


def _sets(by_model: ByModel, wanted: Callable[[str], bool]) -> list[str]:
    """The sets of records with answers, in their order."""
    return [name for name in dict.fromkeys(row["set"] for row in by_model["unlearned"] if "rouge" in row) if wanted(name)]


def _values(by_model: ByModel, sets: Sequence[str], column: str) -> dict[str, Values]:
    return {
        model: _grouped((f"{row['set']}/{row['id']}", float(row[column])) for row in rows if row["set"] in sets)
        for model, rows in by_model.items()
    }


def _grouped(pairs: Iterable[tuple[str, float]]) -> Values:
    grouped: dict[str, list[float]] = defaultdict(list)
    for name, value in pairs:
        grouped[name].append(value)
    return grouped
