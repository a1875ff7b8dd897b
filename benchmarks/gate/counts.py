"""Count how often gates open in their evaluation, by set and prompt variant."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean

from benchmarks.common.tofu import OTHER_LANGUAGES
from expunge.data.set_names import FORGET, GENERAL, INSTRUCTIONS, OTHER_NAMES, RETAIN
from expunge.gating.eval_prompts import AS_GIVEN, EvalGroup
from expunge.metrics.statistics import proportion_ci

COLUMNS = (
    "paraphrase",
    "mean of the English variants",
    "worst of them",
    "asked for another language",
    "FP: retain paraphrase",
    "retain in every variant",
    "instructions in every variant",
    "real authors",
    "world facts",
    "general",
    "unseen authors",
    "forget and other prompts learnt from",
    "training",
)


class Counts:
    """Numbers of open gates and of prompts, by set and variant, over choices and seeds."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        self.trained: list[tuple[int, int, float]] = []

    def add(self, groups: Sequence[EvalGroup], opened: list[bool]) -> None:
        """Add the evaluation of one gate; `opened` has one value for each prompt, group after group."""
        results = iter(opened)
        for group in groups:
            count = self.counts[group.set_name, group.variant]
            for _ in group.prompts:
                count[0] += next(results)
                count[1] += 1

    def note_training(self, forget: int, others: int, seconds: float) -> None:
        """Add the training of one gate: its forget and other prompts, and its seconds on cached states."""
        self.trained.append((forget, others, seconds))

    def share(self, of: str, *variants: str) -> tuple[int, int]:
        """Return open gates and prompts of a set in some variants; without variants: in all except as given."""
        some = [
            n for (name, variant), n in self.counts.items() if name == of and (variant in variants if variants else variant != AS_GIVEN)
        ]
        return sum(n[0] for n in some), sum(n[1] for n in some)

    def english(self) -> dict[str, float]:
        """Return the share of open gates on the forget set for each English variant."""
        return {
            variant: opened / prompts
            for (name, variant), (opened, prompts) in self.counts.items()
            if name == FORGET and variant not in (AS_GIVEN, OTHER_LANGUAGES)
        }

    def cells(self) -> list[str]:
        """Return the cells of the table."""
        english = self.english()
        worst = min(english, key=lambda variant: english[variant])
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
            percent(*self.share(OTHER_NAMES, AS_GIVEN)),
            f"{fmean(forget for forget, _, _ in self.trained):.0f} + {fmean(others for _, others, _ in self.trained):.0f}",
            f"{fmean(seconds for _, _, seconds in self.trained):.0f} s",
        ]

    def line(self) -> str:
        """Return the cells in one line."""
        return ", ".join(f"{name} {cell}" for name, cell in zip(COLUMNS, self.cells(), strict=True))


def joined(some: Iterable[Counts]) -> Counts:
    """Return the sum of all counts."""
    every = Counts()
    for counts in some:
        every.trained += counts.trained
        for group, (opened, prompts) in counts.counts.items():
            every.counts[group][0] += opened
            every.counts[group][1] += prompts
    return every


def percent(opened: int, prompts: int) -> str:
    """Return a share in per cent with its Wilson interval."""
    low, high = proportion_ci(opened, prompts).ci95 or (0, 0)
    return f"{100 * opened / prompts:.1f} ({100 * low:.0f}–{100 * high:.0f})"
