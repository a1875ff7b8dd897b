"""Attack the models of an audit, all alike; what was found is kept, so that a killed audit goes on and a second one asks nothing again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from torch import nn

from expunge.auditing.attacks import Attack, Target, as_plain
from expunge.auditing.attacks.base import Row
from expunge.auditing.record_metrics import Settings
from expunge.auditing.suite import Suite
from expunge.auditing.summary import SetSummary
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.data.set_names import FORGET
from expunge.edits import edit_of
from expunge.files import file_sha256
from expunge.runs.cache import Measurement
from expunge.runs.loaded import OpenedRun
from expunge.runs.splits import Splits, draw


@dataclass
class Attacker:
    """A suite's attacks on one model after the other.

    Attributes:
        run: whose edit is attacked.
        suite: none: nothing is attacked.
        sets: records to attack, and those that an attacker may use freely: what was trained on to be kept, not what the audit measures.
        settings: lengths and batch size.
        display: where progress goes.
        found: of each model attacked so far, the rows of each attack.
    """

    run: OpenedRun
    suite: Suite | None
    sets: Splits
    settings: Settings
    display: Display
    found: dict[str, list[list[Row]]] = field(default_factory=dict)

    @property
    def attacks(self) -> list[Attack]:
        """The suite's attacks, without those that would remove an edit that cannot be removed."""
        attacks = [] if self.suite is None else self.suite.attacks
        return [attack for attack in attacks if edit_of(self.run.recipe).removable or not attack.removes_edit]

    @property
    def hits(self) -> list[tuple[Attack, dict[str, list[Row]]]]:
        """Of each attack, the rows of each model."""
        return [(attack, {model: rows[i] for model, rows in self.found.items()}) for i, attack in enumerate(self.attacks)]

    @property
    def rows(self) -> dict[str, list[Row]]:
        """All rows of each model, each with the title of its `attack`."""
        return {
            model: [{"attack": attack.label, **row} for attack, own in zip(self.attacks, rows, strict=True) for row in own]
            for model, rows in self.found.items()
        }

    def summary(self, name: str) -> dict[str, SetSummary]:
        """Return the metrics that attacks give of a model, on the forget set."""
        metrics: SetSummary = {}
        for attack, rows in zip(self.attacks, self.found.get(name, ()), strict=False):
            if rows:
                metrics |= attack.summary(rows)
        return {FORGET: metrics}

    def examine(self, name: str, model: nn.Module, builder: PromptBuilder, identity: str, forget: list[Record] | None = None) -> None:
        """Attack a model; see `expunge.auditing.probes.base.Examination`, `forget`: other records to attack than those to be forgotten."""
        seed, settings = self.run.recipe.training.seed, self.settings
        target = Target(model, builder, forget or self.sets.forget, self.sets.retain, seed, settings.batch_size, settings.max_new_tokens)
        attacks = self.attacks
        work = [(i, part, attack.steps(part)) for i, attack in enumerate(attacks) for part in _parts(attack, target)]
        self.found[name] = [[] for _ in attacks]
        if work:
            with self.display.bar(f"Attacking the {name}", sum(steps for _, _, steps in work)) as advance:
                for i, part, steps in work:
                    self.found[name][i] += _rows(attacks[i], part, identity, steps, advance)


def _parts(attack: Attack, target: Target) -> Iterator[Target]:
    """The target with about a batch of work at a time, whose rows are kept together, if the attack takes records one by one."""
    records = draw(target.forget, attack.max_records, target.seed)
    size = max(1, len(records))
    if attack.independent_records and (steps := attack.steps(replace(target, forget=records))):
        size = max(1, round(target.batch_size * len(records) / steps))
    for start in range(0, len(records), size):
        yield replace(target, forget=records[start : start + size])


def _rows(attack: Attack, target: Target, identity: str, steps: int, advance: Callable[[int], None]) -> list[Row]:
    measurement = Measurement(
        "attack",
        identity,
        target.builder,
        {"forget": target.forget, "retain": target.retain},
        attack=as_plain(attack),
        files=[file_sha256(path) for path in attack.files],
        seed=target.seed,
        batch_size=target.batch_size,
        max_new_tokens=target.max_new_tokens,
    )
    done: list[int] = []

    def heard(count: int) -> None:
        done.append(count)
        advance(count)

    rows = measurement.load_or(lambda: list(attack.run(target, heard)))
    advance(steps - sum(done))
    return rows
