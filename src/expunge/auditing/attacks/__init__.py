"""Attacks on a model that was made to forget: what somebody may try who wants the answer all the same."""

from dataclasses import asdict
from typing import Any

from expunge.auditing.attacks.base import Attack, Target
from expunge.auditing.attacks.lens import Lens
from expunge.auditing.attacks.prefill import Prefill
from expunge.auditing.attacks.prompt_attack import Prompted
from expunge.auditing.attacks.quantise import Quantise
from expunge.auditing.attacks.relearn import Relearn
from expunge.auditing.attacks.sampling import Sampling
from expunge.auditing.attacks.switch_off import SwitchOff
from expunge.registry import make_named

ATTACKS: dict[str, type[Attack]] = {kind.name: kind for kind in (Prompted, Sampling, Prefill, Relearn, Quantise, Lens, SwitchOff)}

__all__ = [
    "ATTACKS",
    "Attack",
    "Lens",
    "Prefill",
    "Prompted",
    "Quantise",
    "Relearn",
    "Sampling",
    "SwitchOff",
    "Target",
    "as_plain",
    "make_attack",
]


def make_attack(given: str | dict[str, Any] | Attack) -> Attack:
    """An attack from its name, or from a mapping of its name and settings.

    Raises:
        ValueError: one sentence that names what is wrong.
    """
    return given if isinstance(given, Attack) else make_named("attack", ATTACKS, given)


def as_plain(attack: Attack) -> dict[str, Any]:
    """Plain values that `make_attack` reads back as the same attack."""
    return {"name": attack.name, **asdict(attack)}
