"""Attacks that try to recover what a model was made to forget: one file each, one line each in `ATTACKS`."""

from dataclasses import asdict
from typing import Any

from expunge.auditing.attacks.base import Attack, Target
from expunge.auditing.attacks.evasions import Evasions
from expunge.auditing.attacks.lens import Lens
from expunge.auditing.attacks.prefill import Prefill
from expunge.auditing.attacks.prompt_attack import PromptAttack
from expunge.auditing.attacks.quantise import Quantise
from expunge.auditing.attacks.relearn import Relearn
from expunge.auditing.attacks.sampling import Sampling
from expunge.auditing.attacks.switch_off import SwitchOff
from expunge.registry import make_named

ATTACKS: dict[str, type[Attack]] = {
    attack.name: attack
    for attack in (
        PromptAttack,
        Evasions,
        Sampling,
        Prefill,
        Relearn,
        Quantise,
        Lens,
        SwitchOff,
    )
}
"""{name in a suite: attack}; a report follows this order."""

__all__ = [
    "ATTACKS",
    "Attack",
    "Evasions",
    "Lens",
    "Prefill",
    "PromptAttack",
    "Quantise",
    "Relearn",
    "Sampling",
    "SwitchOff",
    "Target",
    "as_plain",
    "make_attack",
]


def make_attack(given: str | dict[str, Any] | Attack) -> Attack:
    """Make an attack from its name, or from a mapping of its name and settings.

    Raises:
        ValueError: one sentence that names what is wrong.
    """
    return given if isinstance(given, Attack) else make_named("attack", ATTACKS, given)


def as_plain(attack: Attack) -> dict[str, Any]:
    """Return an attack as plain values, from which `make_attack` makes the same attack."""
    return {"name": attack.name, **asdict(attack)}
