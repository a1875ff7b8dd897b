"""Calibrate a gate of a text or a topic that reads on: it pools the tokens of the answer together with those of the prompt."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from expunge.config import EditSection
from expunge.data.prompts import Encoded, PromptBuilder
from expunge.edits.grun.gate import GateParts
from expunge.edits.grun.read_on import pooled_memory, read_on
from expunge.gating.answer_gate import RATE_SHARE, FittedAnswerGate
from expunge.gating.answer_rows import GENERATE_AT_ONCE, MAX_NEW_TOKENS, unended
from expunge.gating.calibrate import Threshold, calibrate
from expunge.gating.choose import GateKind
from expunge.gating.state_store import StateStore
from expunge.gating.training_prompts import calibration_records
from expunge.models.blocks import context_length
from expunge.models.generation import generate
from expunge.models.hidden_states import prompt_states
from expunge.runs.splits import Splits, draw

MOST_FORGET = 200


def fit_reading_on(
    model: nn.Module,
    builder: PromptBuilder,
    splits: Splits,
    fitted: tuple[Mapping[int, GateParts], GateKind, Threshold],
    settings: EditSection,
    seed: int,
    advance: Callable[[int], None] = lambda prompts: None,
    expect: Callable[[int], None] = lambda prompts: None,
) -> FittedAnswerGate:
    """Choose how far above its threshold a gate must come in an answer.

    It is calibrated on the retain records that the threshold was calibrated on, with their answers, and on the model's own answers to
    neutral instructions. An answer has many tokens, and each of them may be the one that opens the gate.

    Args:
        model: before the edit.
        builder: of its tokenizer.
        splits: of the run; the part that is held out for the audit is not used.
        fitted: the gate's parts by block, its kind, and the threshold at which a prompt opens it.
        settings: of the edit.
        seed: of the forget records that the coverage is measured on.
        advance: called with the number of rows read.
        expect: called with the number of rows, once it is known.
    """
    gate, kind, threshold = fitted
    retain, instructions = calibration_records(builder, splits)
    longest = context_length(model) or sys.maxsize
    prompts = [prompt for record in instructions if len(prompt := builder.record(record).prompt) + MAX_NEW_TOKENS < longest]
    answers = generate(model, builder, prompts, MAX_NEW_TOKENS, GENERATE_AT_ONCE)
    own = [Encoded(prompt, builder.unfinished_answer(answer)) for prompt, answer in zip(prompts, answers, strict=True) if answer]
    others = [*(unended(builder, builder.record(record)) for record in retain), *own]
    forget = [unended(builder, builder.record(record)) for record in draw(splits.forget, MOST_FORGET, seed)]
    rows = [row for row in (*forget, *others) if row.answer]
    expect(len(rows))
    states = prompt_states(
        model, [(*row.prompt, *row.answer) for row in rows], list(gate), builder.pad, advance=advance, transform=StateStore(settings)
    )
    reached = torch.stack(
        [_highest(gate, kind, {block: states[block][i] for block in gate}, len(row.prompt)) for i, row in enumerate(rows)]
    )
    of_forget, of_others = reached.tensor_split((sum(bool(row.answer) for row in forget),))
    chosen = calibrate(of_others[:, 1], of_forget[:, 1], settings.false_positive_rate * RATE_SHARE)
    logit = max(threshold.logit, chosen.logit)
    opened = (of_forget[:, 0] >= threshold.logit) | (of_forget[:, 1] >= logit)
    rate = (of_others[:, 1] >= logit).float().mean().item()
    return FittedAnswerGate(
        None, replace(chosen, logit=logit, calibration_rate=rate), opened.float().mean().item(), margin=logit - threshold.logit
    )


@torch.no_grad()
def _highest(gate: Mapping[int, GateParts], kind: GateKind, states: Mapping[int, Tensor], prompt_tokens: int) -> Tensor:
    """Return the gate's logit of a prompt, and its highest logit while it reads the answer: (2,)."""
    of_blocks: list[Tensor] = []
    for block, parts in gate.items():
        prompt, answer = states[block].float()[None].split((prompt_tokens, len(states[block]) - prompt_tokens), dim=1)
        memory = pooled_memory(parts, kind.pool, prompt, torch.ones(prompt.shape[:2], dtype=torch.bool))
        everything = torch.cat((prompt[:, -1:], answer), dim=1)
        is_answer = torch.arange(everything.shape[1])[None] > 0
        of_blocks.append(read_on(parts, kind.pool, everything, is_answer, memory)[0][0])
    logits = torch.stack(of_blocks).mean(0)
    return torch.stack((logits[0], logits[1:].max()))
