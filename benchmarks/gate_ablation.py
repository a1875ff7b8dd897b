"""What each part of the gate buys: gates trained on more and more, put to the exam on TOFU; write the table into docs/results.md.

    python benchmarks/gate_ablation.py --tofu DIR --model runs/tofu/original [--choices 3] [--seeds 3] [--rows 24] [--write]

Four of the twenty authors that the model was taught are the forget set, in each of the choices others. Gates read frozen states, so
nothing is unlearned here: prompts are read once and every gate is trained, calibrated and examined on what was read. The default is
examined in every choice with every seed, the other gates in the first choice with the first seed.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch
from gate_variants import DEFAULT, VARIANTS, Variant
from tofu_data import CHOICES, OTHER_LANGUAGES, authors, others
from torch import Tensor
from writing import measured_on, write

from expunge.audit.attacks.prompts import read_attacks
from expunge.audit.exam import AS_GIVEN, Group, exam_groups
from expunge.audit.names import FORGET, GENERAL, INSTRUCTIONS, RETAIN, STRANGERS
from expunge.audit.statistics import proportion_ci
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.models.features import prompt_states
from expunge.models.loading import load
from expunge.recipe import Recipe
from expunge.sections import DataSection, EditSection, TrainingSection
from expunge.sets import Sets, split
from expunge.training.gate_first import fit_on, gate_blocks, kept_states, reworded_sets, said_together
from expunge.training.gate_lessons import gate_lessons

SEED = 42
MARK = "<!-- gate_ablation -->"
Keep = Callable[[Tensor], Tensor]


class Reader:
    """States of prompts, each read once: a row of what is kept a prompt and block."""

    def __init__(self, model: torch.nn.Module, blocks: Sequence[int], pad: int, display: Display, keep: Keep = kept_states):
        self.model, self.blocks, self.pad, self.display, self.keep = model, blocks, pad, display, keep
        self._kept: dict[tuple[int, ...], list[Tensor]] = {}

    def read(self, prompts: Sequence[tuple[int, ...]]) -> dict[int, list[Tensor]]:
        """What is kept of the states of prompts at each block."""
        unread = [ids for ids in dict.fromkeys(prompts) if ids not in self._kept]
        with self.display.bar("Reading prompts", len(unread)) as advance:
            read = prompt_states(self.model, unread, self.blocks, self.pad, advance=advance, keep=self.keep)
        for i, ids in enumerate(unread):
            self._kept[ids] = [read[block][i] for block in self.blocks]
        return {block: [self._kept[ids][i] for ids in prompts] for i, block in enumerate(self.blocks)}


def main() -> None:
    """Read, train, examine, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tofu", type=Path, required=True, help="folder with TOFU's JSONL files")
    parser.add_argument("--model", required=True, help="taught the twenty authors, see tofu_forget_authors.py")
    parser.add_argument("--choices", type=int, default=len(CHOICES), help="of the four authors")
    parser.add_argument("--seeds", type=int, default=3, help="for the default")
    parser.add_argument("--rows", type=int, default=24, help="records a set in the exam")
    parser.add_argument("--write", action="store_true", help="write the table into docs/results.md")
    args = parser.parse_args()
    display, started = Display(), time.monotonic()
    model, tokenizer = load(args.model)
    builder = PromptBuilder(tokenizer)
    found: dict[int, Counts] = defaultdict(Counts)
    edit, everywhere = EditSection(), Counts()
    for choice in CHOICES[: args.choices]:
        reader = Reader(model, gate_blocks(model, edit), builder.pad, display, keep=Tensor.half)
        for seed in range(SEED, SEED + args.seeds):
            sets = tofu_sets(args.tofu, choice, seed, edit)
            groups = exam_groups(builder, sets, others(args.tofu), read_attacks(), args.rows)
            asked = [ids for group in groups for ids in group.prompts.values()]
            first = choice == CHOICES[0] and seed == SEED
            for i, variant in enumerate(VARIANTS):
                if i != DEFAULT and not first:
                    continue
                settings = EditSection.model_validate({"gate_pool": variant.pool, **variant.more})
                made = reworded_sets(model, builder, sets, variant.lessons, seed, lambda rows: None)
                lessons = gate_lessons(builder, sets, variant.lessons, 8192, seed, made)
                if variant.plain:
                    lessons = replace(lessons, closed=[versions[:1] for versions in lessons.closed])
                states, exam = (
                    {block: [seen(state, variant) for state in own] for block, own in reader.read(prompts).items()}
                    for prompts in (lessons.every, asked)
                )
                began = time.monotonic()
                fitted = fit_on(lessons, {block: states[block] for block in gate_blocks(model, settings)}, settings, seed)
                seconds = time.monotonic() - began
                threshold = 0.0 if variant.soft else fitted.threshold.logit
                opened = said_together(fitted.gate, variant.pool, exam) >= threshold
                for counts in [found[i]] * first + [everywhere] * (i == DEFAULT):
                    counts.note_training(len(lessons.forget), len(lessons.others), seconds)
                    counts.add(groups, opened.tolist())
                line = (found[i] if first else everywhere).line()
                display.say(f"{choice} seed {seed}: {variant.says}: {len(made[0])} paraphrases, blocks {list(fitted.gate)}; {line}")
    text = table(found, everywhere) + f"\n\n{facts(args, time.monotonic() - started)}\n"
    print(text)
    if args.write:
        write(MARK, text)


def tofu_sets(tofu: Path, choice: Sequence[int], seed: int, edit: EditSection) -> Sets:
    """The authors of a choice to forget, the others to keep, split as a run with that seed splits them."""
    recipe = Recipe(data=DataSection(forget="", retain=""), edit=edit, training=TrainingSection(seed=seed))
    return split(*authors(tofu, choice), recipe)


def seen(states: Tensor, variant: Variant) -> Tensor:
    """What a gate sees of a prompt's states."""
    own = states[-1:] if variant.last else states
    return own if variant.unnormed else kept_states(own)


class Counts:
    """Open gates and prompts, by set and dress, over choices and seeds."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        self.trained: list[tuple[int, int, float]] = []

    def add(self, groups: Sequence[Group], opened: list[bool]) -> None:
        """Count one gate's exam; `opened`: of each group's prompts in turn."""
        said = iter(opened)
        for group in groups:
            count = self.counts[group.of, group.dress]
            for _ in group.prompts:
                count[0] += next(said)
                count[1] += 1

    def note_training(self, forget: int, others: int, seconds: float) -> None:
        """Prompts of a gate's training, and how long it took on cached states, at all its blocks."""
        self.trained.append((forget, others, seconds))

    def share(self, of: str, *dresses: str) -> tuple[int, int]:
        """Open gates and prompts of a set in some dresses; none given: in all but as given."""
        some = [n for (name, dress), n in self.counts.items() if name == of and (dress in dresses if dresses else dress != AS_GIVEN)]
        return sum(n[0] for n in some), sum(n[1] for n in some)

    def english(self) -> dict[str, float]:
        """Share of open gates on the forget set, a dress in English each."""
        return {
            dress: opened / asked
            for (name, dress), (opened, asked) in self.counts.items()
            if name == FORGET and dress not in (AS_GIVEN, OTHER_LANGUAGES)
        }

    def cells(self) -> list[str]:
        """What the table says."""
        english = self.english()
        worst = min(english, key=lambda dress: english[dress])
        return [
            percent(*self.share(FORGET, "paraphrase")),
            f"{100 * sum(english.values()) / len(english):.1f}",
            f"{100 * english[worst]:.0f} ({worst})",
            percent(*self.share(FORGET, OTHER_LANGUAGES)),
            percent(*self.share(RETAIN, "paraphrase")),
            percent(*self.share(RETAIN)),
            percent(*self.share(INSTRUCTIONS)),
            percent(*self.share("real_authors", AS_GIVEN)),
            percent(*self.share("world_facts", AS_GIVEN)),
            percent(*self.share(GENERAL, AS_GIVEN)),
            percent(*self.share(STRANGERS, AS_GIVEN)),
            f"{fmean(forget for forget, _, _ in self.trained):.0f} + {fmean(others for _, others, _ in self.trained):.0f}",
            f"{fmean(seconds for _, _, seconds in self.trained):.0f} s",
        ]

    def line(self) -> str:
        """The same in one line."""
        return ", ".join(f"{name} {cell}" for name, cell in zip(COLUMNS, self.cells(), strict=True))


COLUMNS = (
    "paraphrase",
    "mean of the English dresses",
    "worst of them",
    "asked for another language",
    "FP: retain paraphrase",
    "retain in every dress",
    "instructions in every dress",
    "real authors",
    "world facts",
    "general",
    "unseen authors",
    "forget and other prompts learnt from",
    "training",
)


def table(found: dict[int, Counts], everywhere: Counts) -> str:
    """A row a variant in Markdown, per cent."""
    lines = ["| gate | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [f"| {VARIANTS[i].says} | " + " | ".join(counts.cells()) + " |" for i, counts in sorted(found.items())]
    lines.append("| **the default**, all choices and seeds | " + " | ".join(everywhere.cells()) + " |")
    for of in (FORGET, RETAIN, INSTRUCTIONS):
        shares = [f"{dress} {percent(*n)}" for (name, dress), n in sorted(everywhere.counts.items()) if name == of]
        lines.append(f"\nThe default over all choices and seeds on {of}, a dress each: " + ", ".join(shares) + ".")
    return "\n".join(lines)


def percent(opened: int, asked: int) -> str:
    """Share in per cent with its Wilson interval."""
    low, high = proportion_ci(opened, asked).ci95 or (0, 0)
    return f"{100 * opened / asked:.1f} ({100 * low:.0f}–{100 * high:.0f})"


def facts(args: argparse.Namespace, seconds: float) -> str:
    """Date, machine, n and versions."""
    return (
        f"{measured_on()}; {args.choices} choices of four authors of twenty with {args.seeds} seeds each for the default, the first "
        f"of both for the others; {args.rows} records a set and dress. Per cent of prompts that the gate opens for, with Wilson intervals. "
        f"Took {seconds / 60:.0f} min. Command: `python benchmarks/gate_ablation.py --tofu DIR --model {args.model} "
        f"--choices {args.choices} --seeds {args.seeds} --rows {args.rows} --write`."
    )


if __name__ == "__main__":
    main()
