"""The PEFT configurations of ReFT and GRUN edits, as stored in adapter_config.json."""

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from peft import PeftConfig, PeftType, TaskType

from expunge.config import POSITIONS, POSITIONS_PATTERN, Gate, GatePool

Composition = Literal["sum", "paper"]


@dataclass
class ReftConfig(PeftConfig):
    """A low-rank intervention on block outputs (LoReFT; Wu et al., 2024, arXiv 2404.03592), always on.

    Attributes:
        rank: rows of R and W.
        blocks: edited blocks, 0-based; None means {L-12, L-7, L-1} of the model's L blocks, as far as they exist. `resolve` fills
            them in.
        positions: the tokens whose states are edited. `last_prompt` (as in the paper): the last prompt token. `onward`: that token
            and every later one, given or generated. `prompt_suffix:K`: the last K prompt tokens. `all_prompt`: every prompt
            token. `every_token`: every prompt token and every later one. `fired`: the prompt tokens whose score in the pooled
            gate reaches the threshold.
        base_sha256: hash of the checkpoint of the base model that the adapter was trained on.
        composition: the factor of this adapter's change among N active ones. `sum`: 1. `paper`: 0.6 N + 0.6, as in GRUN's
            published code, with which even a single adapter differs from what was trained.
    """

    task_type: TaskType | str | None = TaskType.CAUSAL_LM
    rank: int = 4
    blocks: list[int] | None = None
    positions: str = "last_prompt"
    base_sha256: str | None = None
    composition: Composition = "sum"

    def __post_init__(self) -> None:
        """Check the settings that do not depend on the model."""
        super().__post_init__()
        self.peft_type = PeftType("REFT")
        # PEFT reads this attribute. The setting is `blocks`, so this is not a field and is not saved.
        self.target_modules: list[str] | None = None
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, got {self.rank}")
        if not re.fullmatch(POSITIONS_PATTERN, self.positions):
            raise ValueError(f"positions must be one of {', '.join(POSITIONS)}, got {self.positions!r}")
        if self.positions == "fired" and not self.pooled:
            raise ValueError('positions "fired" needs a pooled gate, because only a pooled gate scores every prompt token')
        check_choice("composition", self.composition, get_args(Composition))

    def resolve(self, depth: int, width: int) -> None:
        """Fill in the blocks for a model with `depth` blocks and hidden size `width`, and check blocks and rank.

        Raises:
            ValueError: if a block does not exist, or the rank is larger than the hidden size.
        """
        if self.rank > width:
            raise ValueError(f"rank must be at most the model's hidden size, {width}, got {self.rank}")
        if self.blocks is None:
            self.blocks = [max(0, depth - 12), max(0, depth - 7), depth - 1]
        self.blocks = sorted(set(self.blocks))
        if not self.blocks or self.blocks[0] < 0 or self.blocks[-1] >= depth:
            raise ValueError(f"blocks must name at least one block from 0 to {depth - 1}, got {self.blocks}")

    def scale(self, modules: int) -> float:
        """Return the factor of this adapter's change among `modules` active ones."""
        return 1.0 if self.composition == "sum" else 0.6 * modules + 0.6

    @property
    def pooled(self) -> bool:
        """Whether one gate reads the whole prompt."""
        return False

    @property
    def wrapped_blocks(self) -> list[int]:
        """Blocks that hold parameters of this adapter; defined after `resolve`."""
        return self.blocks or []


@dataclass
class GrunConfig(ReftConfig):
    """A ReFT edit behind a gate that recognises forget prompts (Ren et al., 2025, arXiv 2502.17823).

    Attributes:
        gate: `linear` (d -> 1) or `mlp` (d -> 256 -> 64 -> 1, ReLU).
        gate_pool: `last` (as in the paper): every edited block has a gate that reads the state it edits. With the others one gate
            scores the states of every prompt token at `gate_blocks` and decides for all edited blocks, by the largest score
            (`max`), the mean of the two or three largest (`top2`, `top3`), or a weighted mean (`attention`).
        gate_blocks: the blocks that a pooled gate reads, at or below the first edited block; the mean over them decides. None means
            11/30 of the depth, or the first edited block if that is lower. `resolve` fills them in.
        gate_layer_norm: whether a pooled gate reads layer-normalised states (mean 0, variance 1).
        answer_gate: whether a pooled gate also reads the answer. Once a token reaches the threshold, the edit is on for the rest of the
            answer, whatever the prompt was.
        answer_maps: linear maps that read the answer, at the lowest of the gate's blocks, from the last prompt token on; the largest of
            their scores counts. 0: the gate itself reads on, and pools the tokens of the answer together with those of the prompt.
        answer_margin: how far above the threshold a gate that reads on must come.
        threshold: of a calibrated hard gate, a logit. Below it the edit is off, bit for bit. At or above it the edit has strength 1
            with a pooled gate, and strength sigmoid(logit) otherwise. None means a soft gate.
        calibration_n: number of held-out prompts that the threshold was calibrated on.
        calibration_alpha: the false-positive rate that it was calibrated for.
    """

    gate: Gate = "linear"
    gate_pool: GatePool = "last"
    gate_blocks: list[int] | None = None
    gate_layer_norm: bool = True
    answer_gate: bool = False
    answer_maps: int = 0
    answer_margin: float = 0.0
    threshold: float | None = None
    calibration_n: int | None = None
    calibration_alpha: float | None = None

    def __post_init__(self) -> None:
        """Check the settings that do not depend on the model."""
        super().__post_init__()
        self.peft_type = PeftType("GRUN")
        check_choice("gate", self.gate, get_args(Gate))
        check_choice("gate_pool", self.gate_pool, get_args(GatePool))
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ValueError(f"threshold must be a finite number, got {self.threshold}")
        if not math.isfinite(self.answer_margin):
            raise ValueError(f"answer_margin must be a finite number, got {self.answer_margin}")
        if self.answer_maps < 0:
            raise ValueError(f"answer_maps must be at least 0, got {self.answer_maps}")
        if self.answer_gate and not (self.pooled and self.positions in ("onward", "every_token")):
            raise ValueError('answer_gate needs a pooled gate and the positions "onward" or "every_token"')
        if self.gate_blocks is not None and not self.pooled:
            raise ValueError('gate_blocks needs a pooled gate; with gate_pool "last" every edited block has a gate')

    def resolve(self, depth: int, width: int) -> None:
        """Fill in edited blocks and gate blocks for a model with `depth` blocks and hidden size `width`, and check them.

        Raises:
            ValueError: if a block does not exist, the rank is too large, or the gate would come after the first edit.
        """
        super().resolve(depth, width)
        if not self.pooled:
            return
        first = super().wrapped_blocks[0]
        if self.gate_blocks is None:
            self.gate_blocks = [min(round(depth * 11 / 30), first)]
        self.gate_blocks = sorted(set(self.gate_blocks))
        if not self.gate_blocks or self.gate_blocks[0] < 0 or self.gate_blocks[-1] > first:
            raise ValueError(f"gate_blocks must name at least one block from 0 to the first edited one, {first}, got {self.gate_blocks}")

    @property
    def pooled(self) -> bool:
        """Whether one gate reads the whole prompt."""
        return self.gate_pool != "last"

    @property
    def reads_on(self) -> bool:
        """Whether the gate that reads the prompt reads on over the answer."""
        return self.answer_gate and self.answer_maps == 0

    @property
    def wrapped_blocks(self) -> list[int]:
        """Blocks that hold parameters of this adapter, including its gate's; defined after `resolve`."""
        return sorted({*super().wrapped_blocks, *(self.gate_blocks or ())})

    @property
    def last_gate(self) -> int:
        """The highest block that has a gate; defined after `resolve`."""
        return max(self.gate_of(block) for block in self.blocks or ())

    def gate_of(self, block: int) -> int:
        """Return the block whose gate decides on the edit at `block`; defined after `resolve`."""
        return self.gate_blocks[-1] if self.gate_blocks else block

    def gate_reads(self, block: int) -> bool:
        """Return whether a gate reads the output of this block; defined after `resolve`."""
        return block in (self.gate_blocks or self.blocks or ())


def check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `ValueError` unless the value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{field} must be one of {', '.join(choices)}, got {value!r}")
