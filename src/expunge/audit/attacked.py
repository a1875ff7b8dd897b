"""Attack the models of an audit, all alike; what was found is kept, so that a killed audit goes on and a second one asks nothing again."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace

from expunge.audit.attacks import Attack, Target
from expunge.audit.attacks.base import Row
from expunge.audit.kept import keep, kept_at
from expunge.console import Display
from expunge.data.records import Record, data_hash
from expunge.sets import draw

AT_ONCE = 8
"""Records of which the rows are kept together."""


def attack_model(attacks: Sequence[Attack], target: Target, identity: str, display: Display, title: str) -> list[list[Row]]:
    """The rows of each attack on a model.

    Args:
        attacks: with their settings.
        target: the model, with all forget records.
        identity: says which model it is: a hash of all that it is made of.
        display: where progress goes.
        title: of the bar.
    """
    targets = [list(_parts(attack, target)) for attack in attacks]
    steps = [[attack.steps(part) for part in parts] for attack, parts in zip(attacks, targets, strict=True)]
    found: list[list[Row]] = []
    with display.bar(title, sum(map(sum, steps))) as advance:
        for attack, parts, counts in zip(attacks, targets, steps, strict=True):
            found.append([])
            for part, count in zip(parts, counts, strict=True):
                found[-1] += _rows(attack, part, identity, count, advance)
    return found


def _parts(attack: Attack, target: Target) -> Iterator[Target]:
    """The target with a few of its records at a time, if the attack takes records one by one."""
    records = draw(target.forget, attack.records, target.seed)
    size = AT_ONCE if attack.apart else max(1, len(records))
    for start in range(0, len(records), size):
        yield replace(target, forget=records[start : start + size])


def _rows(attack: Attack, target: Target, identity: str, steps: int, advance: Callable[[int], None]) -> list[Row]:
    path = kept_at(
        [
            identity,
            type(attack).__name__,
            asdict(attack),
            target.builder.tokenizer.chat_template,
            target.builder.system,
            [_of(records) for records in (target.forget, target.retain)],
            [target.seed, target.batch_size, target.max_new_tokens],
        ]
    )
    if path.exists():
        advance(steps)
    else:
        keep(path, list(attack.run(target, advance)))
    return json.loads(path.read_text(encoding="utf-8"))


def _of(records: Sequence[Record]) -> list[str]:
    return [data_hash(records), *(record.id for record in records)]
