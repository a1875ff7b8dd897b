"""Attack probe: run a suite's attacks on every model of an audit. Results are cached, so that an interrupted audit continues."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from expunge.auditing.attacks import Attack, Target, as_plain
from expunge.auditing.attacks.base import Row
from expunge.auditing.attacks.layers import LEAST_SHARE, reached_share
from expunge.auditing.cross_checks import characters_check
from expunge.auditing.measured import Measured
from expunge.auditing.probes.base import Probe, ProbedModel
from expunge.auditing.reasoning import reasoning_row
from expunge.auditing.record_metrics import Settings
from expunge.auditing.suite import Tolerance
from expunge.auditing.summary import SetSummary
from expunge.auditing.verdict import BLIND, VerdictRow, always, not_shown
from expunge.console import Display
from expunge.data.set_names import FORGET
from expunge.data.threats import RELEASED
from expunge.files import file_sha256
from expunge.models.ranks import dealt
from expunge.runs.cache import Measurement
from expunge.runs.folder import ATTACKED
from expunge.runs.splits import Splits, draw


@dataclass
class AttackProbe(Probe):
    """A suite's attacks.

    Attributes:
        attacks: of the suite; those that remove an edit are not run if it cannot be removed.
        splits: the run's records. Attackers may use the retain records that were trained on, not those that the audit measures.
        settings: lengths and batch size.
        seed: of everything that attacks draw.
        removable: whether whoever has the edit's files can leave the edit out.
        display: shows progress.
        results: of each model attacked so far, the rows of each attack.
        left_out: the verdict rows that an attack cannot measure, see `Attack.left_out`: for each attack {name: reason}.
        reached: the share of the blocks' weights that attacks on the weights change.
    """

    attacks: Sequence[Attack]
    splits: Splits
    settings: Settings
    seed: int
    removable: bool
    display: Display
    results: dict[str, list[list[Row]]] = field(default_factory=dict)
    left_out: list[Mapping[str, str]] = field(default_factory=list)
    reached: float = 1.0

    file: ClassVar[str] = ATTACKED
    takes_stand_ins: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.attacks = [attack for attack in self.attacks if self.removable or not attack.removes_edit]

    def run(self, probed: ProbedModel) -> None:
        """Run every attack, in parts that are cached separately."""
        forget = self.splits.forget if probed.stand_ins is None else probed.stand_ins
        batch_size, max_new_tokens = self.settings.batch_size, self.settings.max_new_tokens
        target = Target(probed.model, probed.builder, forget, self.splits.retain, self.seed, batch_size, max_new_tokens)
        if probed.name == "unlearned":
            self.left_out = [attack.left_out(_drawn(attack, target)) for attack in self.attacks]
            self.reached = reached_share(probed.model)
        parts = [(i, part, attack.steps(part)) for i, attack in enumerate(self.attacks) for part in _parts(attack, target)]
        self.results[probed.name] = [[] for _ in self.attacks]
        if parts:
            with self.display.bar(f"Attacking the {probed.name}", sum(steps for _, _, steps in parts)) as advance:
                rows = dealt(parts, lambda of: _run_part(self.attacks[of[0]], of[1], probed.identity, of[2], advance))
                for (i, _, _), of_part in zip(parts, rows, strict=True):
                    self.results[probed.name][i] += of_part

    @property
    def rows(self) -> dict[str, list[Row]]:
        """All rows of each model, each with the label of its `attack`."""
        return {
            model: [{"attack": attack.label, **row} for attack, rows in zip(self.attacks, by_attack, strict=True) for row in rows]
            for model, by_attack in self.results.items()
        }

    def summary(self, name: str) -> dict[str, SetSummary]:
        """Return the metrics that attacks compute of a model, on the forget set."""
        metrics: SetSummary = {}
        for attack, rows in zip(self.attacks, self.results.get(name, ()), strict=False):
            if rows:
                metrics |= attack.summary(rows)
        return {FORGET: metrics}

    def verdict_rows(self, tolerance: Tolerance) -> list[VerdictRow]:
        """Return the rows of each attack. If the edit can be removed, a further row fails for released weights without a measurement."""
        rows = [
            self._with_share(attack, row)
            for i, attack in enumerate(self.attacks)
            for row in attack_verdict_rows(attack, {model: by_attack[i] for model, by_attack in self.results.items()}, tolerance.leak)
        ]
        for attack, names in zip(self.attacks, self.left_out, strict=False):
            rows += [not_shown(name, attack.measures, why, "control", tolerance.leak, attack.threat) for name, why in names.items()]
        if self.removable:
            rows.append(always(RELEASED, RELEASED, "whoever holds the files can leave the edit out and has the original model"))
        return rows

    def _with_share(self, attack: Attack, row: VerdictRow) -> VerdictRow:
        """Say in a verdict row that its attack changes only a part of the weights."""
        if not attack.changes_weights or self.reached >= LEAST_SHARE:
            return row
        return replace(row, reason=f"{row.reason}; the attack changes {self.reached:.0%} of the blocks' weights")


def attack_verdict_rows(attack: Attack, by_model: Mapping[str, Sequence[Row]], tolerance: float) -> Iterator[VerdictRow]:
    """Yield an attack's verdict rows. Each judges all rows that the attack assigns to it, record by record against the control.

    Args:
        attack: the attack.
        by_model: its rows on each model.
        tolerance: how much more the unlearned model may reveal.
    """
    for name in dict.fromkeys(attack.verdict_row(row) for row in by_model["unlearned"]):
        if name is not None:
            rows = {model: [row for row in of_model if attack.verdict_row(row) == name] for model, of_model in by_model.items()}
            text = _as_seen(attack, Measured(rows, "value").judge(name, attack.measures, "control", tolerance, attack.threat), rows)
            yield text
            yield from reasoning_row(rows, name, attack.measures, tolerance, attack.threat)
            # A row for each that agrees would only repeat the one before.
            if text.verdict == "pass" or text.reason.startswith(BLIND):
                by_characters = characters_check(Measured(rows, "chrf", "chrf"), text)
                if by_characters.verdict == "fail":
                    yield by_characters


def _as_seen(attack: Attack, row: VerdictRow, rows: Mapping[str, Sequence[Row]]) -> VerdictRow:
    """Return a row that passes as not shown, if the attack needs the original and the original itself would not fail the row."""
    if row.verdict != "pass" or not attack.needs_original:
        return row
    original = {"unlearned": rows.get("original", []), "control": rows.get("control", [])}
    of_original = Measured(original, "value").judge(row.name, row.value, "control", row.tolerance, row.threat)
    if of_original.verdict == "fail":
        return row
    means = [f"{mean.value:.2f}" for mean in (row.original, row.control) if mean is not None]
    reason = f"{BLIND}: in this form the original tells no more than the control either ({' and '.join(means)})"
    return replace(row, verdict="not shown", reason=reason)


def _parts(attack: Attack, target: Target) -> Iterator[Target]:
    """Split the attacked records into parts of about a batch of work, if a record's rows do not depend on the other records."""
    drawn = _drawn(attack, target)
    records = drawn.forget
    size = max(1, len(records))
    if attack.independent_records and (steps := attack.steps(drawn)):
        size = max(1, round(target.batch_size * len(records) / steps))
    for start in range(0, len(records), size):
        yield replace(target, forget=records[start : start + size])


def _drawn(attack: Attack, target: Target) -> Target:
    return replace(target, forget=draw(target.forget, attack.max_records, target.seed))


def _run_part(attack: Attack, target: Target, identity: str, steps: int, advance: Callable[[int], None]) -> list[Row]:
    """Return the rows of one part, from the cache or by running the attack; `advance` gets `steps` in both cases."""
    measurement = Measurement(
        "attack",
        identity,
        target.model,
        target.builder,
        {"forget": target.forget, "retain": target.retain},
        attack=as_plain(attack),
        files=[file_sha256(path) for path in attack.files],
        seed=target.seed,
        batch_size=target.batch_size,
        max_new_tokens=target.max_new_tokens,
    )
    done: list[int] = []

    def count(steps_done: int) -> None:
        done.append(steps_done)
        advance(steps_done)

    rows = measurement.load_or(lambda: list(attack.run(target, count)))
    advance(steps - sum(done))
    return rows
