"""How often gates opened in the exam, counted by set and variant."""

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
    """Open gates and prompts, by set and variant, over choices and seeds."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        self.trained: list[tuple[int, int, float]] = []

    def add(self, groups: Sequence[EvalGroup], opened: list[bool]) -> None:
        """Count one gate's exam; `opened`: of each group's prompts in turn."""
        said = iter(opened)
        for group in groups:
            count = self.counts[group.set_name, group.variant]
            for _ in group.prompts:
                count[0] += next(said)
                count[1] += 1

    def note_training(self, forget: int, others: int, seconds: float) -> None:
        """Prompts of a gate's training, and how long it took on cached states, at all its blocks."""
        self.trained.append((forget, others, seconds))

    def share(self, of: str, *variants: str) -> tuple[int, int]:
        """Open gates and prompts of a set in some variants; none given: in all but as given."""
        some = [
            n for (name, variant), n in self.counts.items() if name == of and (variant in variants if variants else variant != AS_GIVEN)
        ]
        return sum(n[0] for n in some), sum(n[1] for n in some)

    def english(self) -> dict[str, float]:
        """Share of open gates on the forget set, a variant in English each."""
        return {
            variant: opened / asked
            for (name, variant), (opened, asked) in self.counts.items()
            if name == FORGET and variant not in (AS_GIVEN, OTHER_LANGUAGES)
        }

    def cells(self) -> list[str]:
        """What the table says."""
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
        """The same in one line."""
        return ", ".join(f"{name} {cell}" for name, cell in zip(COLUMNS, self.cells(), strict=True))


def joined(some: Iterable[Counts]) -> Counts:
    """All of them counted together."""
    every = Counts()
    for counts in some:
        every.trained += counts.trained
        for group, (opened, asked) in counts.counts.items():
            every.counts[group][0] += opened
            every.counts[group][1] += asked
    return every


def percent(opened: int, asked: int) -> str:
    """Share in per cent with its Wilson interval."""
    low, high = proportion_ci(opened, asked).ci95 or (0, 0)
    return f"{100 * opened / asked:.1f} ({100 * low:.0f}–{100 * high:.0f})"
