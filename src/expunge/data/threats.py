"""Threat models: what an attacker has to be given before they can try an attack."""

from typing import Literal

Threat = Literal["API only", "fine-tuning API", "weights released"]
THREATS: dict[Threat, str] = {
    "API only": "the attacker sends prompts and reads answers",
    "fine-tuning API": "the attacker also trains the model on data of their own",
    "weights released": "the attacker holds the weights: fine-tunes, quantises, reads hidden states, deletes adapters",
}
"""Each threat model in words, the weakest attacker first."""
RELEASED: Threat = "weights released"
"""The threat model in which a removable edit protects nothing."""
