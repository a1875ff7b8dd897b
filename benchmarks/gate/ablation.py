"""Evaluate the gate on TOFU, and what each part of it contributes; write the table into docs/results/.

    python -m benchmarks.gate.ablation --tofu DIR --model runs/tofu/original [--choices 3] [--seeds 3] [--rows 24] [--write]
    python -m benchmarks.gate.ablation --tofu DIR --model runs/tofu/original --choices 1 --seeds 1 --every-gate [--write]

The forget set is four of the twenty authors that the model was taught; each choice takes other authors. Gates read frozen hidden states,
so nothing is unlearned here: the states of the prompts are computed once, and every gate is trained, calibrated and evaluated on them.
The first command evaluates the default gate for every choice and seed, the second all gates of variants.py for the first choice and seed.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.common.results import markdown, measured_on, write
from benchmarks.common.tofu import CHOICES, authors, others
from benchmarks.gate.counts import COLUMNS, Counts, joined, percent
from benchmarks.gate.variants import DEFAULT, VARIANTS, Variant
from expunge.config import DataSection, EditSection, TrainingSection
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.prompt_templates import read_prompt_templates
from expunge.data.prompts import PromptBuilder
from expunge.data.set_names import FORGET, INSTRUCTIONS, RETAIN
from expunge.gating.eval_prompts import EvalGroup, eval_groups
from expunge.gating.fit import fit_on_states, gate_blocks, mean_gate_logits, paraphrased_sets
from expunge.gating.state_store import stored_input
from expunge.gating.training_prompts import gate_prompts
from expunge.models.hidden_states import prompt_states
from expunge.models.loading import load
from expunge.runs.splits import Splits, split

SEED = 42
MARK, DEFAULT_MARK = "<!-- gate_ablation -->", "<!-- gate_default -->"
"""Marks around the table of all gates, and around that of the default gate."""


class Reader:
    """Compute the hidden states of prompts, each prompt once."""

    def __init__(self, model: torch.nn.Module, blocks: Sequence[int], pad: int, display: Display, transform: Callable[[Tensor], Tensor]):
        self.model, self.blocks, self.pad, self.display, self.transform = model, blocks, pad, display, transform
        self._cache: dict[tuple[int, ...], list[Tensor]] = {}

    def read(self, prompts: Sequence[tuple[int, ...]]) -> dict[int, list[Tensor]]:
        """Return the transformed states of each prompt, by block."""
        unread = [ids for ids in dict.fromkeys(prompts) if ids not in self._cache]
        with self.display.bar("Reading prompts", len(unread)) as advance:
            read = prompt_states(self.model, unread, self.blocks, self.pad, advance=advance, transform=self.transform, share_beginning=True)
        for i, ids in enumerate(unread):
            self._cache[ids] = [read[block][i] for block in self.blocks]
        return {block: [self._cache[ids][i] for ids in prompts] for i, block in enumerate(self.blocks)}


def main() -> None:
    """Compute states, train and evaluate the gates, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tofu", type=Path, required=True, help="folder with TOFU's JSONL files")
    parser.add_argument("--model", required=True, help="a model that was taught the twenty authors, see unlearning/tofu_forget_authors.py")
    parser.add_argument("--choices", type=int, default=len(CHOICES), help="number of choices of four authors")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--every-gate", action="store_true", help="evaluate all gates, not only the default; needs --choices 1 --seeds 1")
    parser.add_argument("--rows", type=int, default=24, help="records of a set in the evaluation")
    parser.add_argument("--write", action="store_true", help="write the table into the page in docs/results/")
    args = parser.parse_args()
    if args.every_gate and (args.choices, args.seeds) != (1, 1):
        parser.error("--every-gate is for one choice and one seed: give --choices 1 --seeds 1")
    display, started = Display(), time.monotonic()
    model, tokenizer = load(args.model)
    builder = PromptBuilder(tokenizer)
    by_row: dict[str, Counts] = defaultdict(Counts)
    edit = EditSection()
    for n, choice in enumerate(CHOICES[: args.choices], start=1):
        reader = Reader(model, gate_blocks(model, edit), builder.pad, display, transform=Tensor.half)
        for seed in range(SEED, SEED + args.seeds):
            sets = tofu_sets(args.tofu, choice, seed, edit)
            groups = eval_groups(builder, sets, others(args.tofu), read_prompt_templates(), args.rows)
            for variant in VARIANTS if args.every_gate else (VARIANTS[DEFAULT],):
                row = variant.label if args.every_gate else f"choice {n}, seed {seed}"
                evaluate(by_row[row], variant, sets, groups, reader, builder, seed)
                display.print(f"{row}: {by_row[row].line()}")
    text = table(by_row)
    if not args.every_gate:
        every = joined(by_row.values())
        text = f"{table({**by_row, '**all choices and seeds**': every})}\n\n{by_variant(every)}"
    text += f"\n\n{facts(args, time.monotonic() - started)}\n"
    print(text)
    if args.write:
        write(MARK if args.every_gate else DEFAULT_MARK, text)


def evaluate(
    counts: Counts, variant: Variant, sets: Splits, groups: list[EvalGroup], reader: Reader, builder: PromptBuilder, seed: int
) -> None:
    """Train a gate on the sets, evaluate it, and count how often it opens."""
    settings = EditSection.model_validate({"gate_pool": variant.pool, **variant.settings})
    paraphrased = paraphrased_sets(reader.model, builder, sets, variant.augmentations, seed, lambda rows: None)
    gate_set = gate_prompts(builder, sets, variant.augmentations, 8192, seed, paraphrased)
    if variant.plain:
        gate_set = replace(gate_set, calibration=[versions[:1] for versions in gate_set.calibration])
    eval_prompts = [ids for group in groups for ids in group.prompts.values()]
    states, eval_states = (
        {block: [seen(state, variant, settings) for state in of_block] for block, of_block in reader.read(prompts).items()}
        for prompts in (gate_set.all, eval_prompts)
    )
    started = time.monotonic()
    fitted = fit_on_states(gate_set, {block: states[block] for block in gate_blocks(reader.model, settings)}, settings, seed)
    counts.note_training(len(gate_set.forget), len(gate_set.negatives), time.monotonic() - started)
    threshold = 0.0 if variant.soft else fitted.threshold.logit
    counts.add(groups, (mean_gate_logits(fitted.gate, variant.pool, eval_states) >= threshold).tolist())


def tofu_sets(tofu: Path, choice: Sequence[int], seed: int, edit: EditSection) -> Splits:
    """Return the sets of a choice of authors, split as a run with that seed splits them."""
    recipe = Recipe(data=DataSection(forget="", retain=""), edit=edit, training=TrainingSection(seed=seed))
    return split(*authors(tofu, choice), recipe)


def seen(states: Tensor, variant: Variant, settings: EditSection) -> Tensor:
    """Return the part of a prompt's states that the gate reads."""
    return stored_input(states[-1:] if variant.last else states, settings)


def table(by_row: dict[str, Counts]) -> str:
    """Return the table in Markdown, one row for each gate, in per cent."""
    return markdown("gate", COLUMNS, {row: counts.cells() for row, counts in by_row.items()})


def by_variant(counts: Counts) -> str:
    """Return a table of the share of open gates: a row a prompt variant, a column a set."""
    sets = (FORGET, RETAIN, INSTRUCTIONS)
    variants = sorted({variant for name, variant in counts.counts if name in sets})
    shares = {
        variant: [percent(*counts.counts[of, variant]) if (of, variant) in counts.counts else "" for of in sets] for variant in variants
    }
    return markdown("prompt variant", sets, shares)


def facts(args: argparse.Namespace, seconds: float) -> str:
    """Return date, machine, n and package versions."""
    chosen = f"--choices {args.choices} --seeds {args.seeds}" + " --every-gate" * args.every_gate
    return (
        f"{measured_on()}; choices of four authors of twenty: {args.choices}, seeds: {args.seeds}; {args.rows} records a set and variant. "
        f"Per cent of prompts that the gate opens for, with Wilson intervals. Took {seconds / 60:.0f} min. Command: "
        f"`python -m benchmarks.gate.ablation --tofu DIR --model {args.model} {chosen} --rows {args.rows} --write`."
    )


if __name__ == "__main__":
    main()
