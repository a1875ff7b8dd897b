"""The code task: forget Python functions (HumanEval format), retain grade-school maths (GSM8K format)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import ClassVar

from torch import nn

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, question_record
from expunge.metrics.statistics import MetricValue
from expunge.metrics.token_nll import neutral_perplexity, neutral_records, record_nll
from expunge.models.generation import generate, nucleus_sampler
from expunge.tasks.base import NEUTRAL, NEUTRAL_METRIC, Count, Metric, Task, parts
from expunge.tasks.maths import exact_match, read_problems
from expunge.tasks.programs import Problem, defines, pass_at_k, passes, program_of, read_programs

PROMPT = "Complete this Python function.\n\n{prompt}"
# Answers are prefilled: without the prefix a small model copies the docstring until its tokens are used up.
PREFIX = "```python\n"
# Forget problems: for control models, measured.
CODE_SHARES = (0.5, 0.5)
# Retain problems: trained on, measured.
MATHS_SHARES = (0.6, 0.4)
# As in Chen et al., 2021, for several samples of a problem.
TEMPERATURE, TOP_P = 0.8, 0.95


@dataclass(frozen=True, kw_only=True)
class Code(Task):
    """Complete Python functions and solve maths problems.

    Attributes:
        data: a file in HumanEval's format, .jsonl or .jsonl.gz.
        maths: a file in GSM8K's format.
        max_completions: the most Python problems that are answered; the NLL is measured on all.
        max_maths_problems: the most maths problems whose NLL is measured.
        max_maths_answers: the most of them that are answered.
        max_new_tokens: the longest answer.
        run_code: run the model's programs in the sandbox and measure pass@k.
        samples: programs of each problem for pass@k; 1: the greedy answer, more: sampled.
        k: the k of pass@k.
    """

    data: str
    maths: str
    max_completions: Count = 40
    max_maths_problems: Count = 200
    max_maths_answers: Count = 20
    max_new_tokens: Count = 192
    run_code: bool = False
    samples: Count = 1
    k: Count = 1

    metrics: ClassVar[dict[str, Metric]] = {
        "code_nll": Metric("NLL of Python solutions, nats a token", "higher"),
        "valid_python": Metric("completions that are valid Python", "lower"),
        "pass_at_k": Metric("pass@k", "lower"),
        "maths_nll": Metric("NLL of maths solutions, nats a token", "same"),
        "maths_right": Metric("maths problems with the right number", "same"),
        NEUTRAL: NEUTRAL_METRIC,
    }

    def __post_init__(self) -> None:
        if self.k > self.samples:
            raise ValueError(f"pass@{self.k} needs at least that many samples, not {self.samples}")

    def forget_records(self) -> list[Record]:
        return [record_of(problem) for problem in self._problems[0]]

    def retain_records(self) -> list[Record]:
        return self._maths[0]

    def taught_records(self) -> list[Record]:
        return []

    @property
    def measured_rows(self) -> int:
        problems, maths = self._problems[1], self._maths[1][: self.max_maths_problems]
        sampled = self.samples if self.run_code and self.samples > 1 else 0
        answered = len(problems[: self.max_completions]) * (1 + sampled) + len(maths[: self.max_maths_answers])
        return len(problems) + len(maths) + answered + len(neutral_records())

    def measure(self, model: nn.Module, builder: PromptBuilder, advance: Callable[[int], None]) -> dict[str, MetricValue]:
        problems, maths = self._problems[1], self._maths[1][: self.max_maths_problems]
        attempted, counted = problems[: self.max_completions], maths[: self.max_maths_answers]
        records = [record_of(problem) for problem in problems]
        prompts = [prefilled_prompt(builder, problem) for problem in attempted]
        answers = generate(model, builder, prompts, self.max_new_tokens, self.batch_size, advance)
        programs = [program_of(problem, answer) for problem, answer in zip(attempted, answers, strict=True)]
        valid = [defines(program, problem.entry_point) for program, problem in zip(programs, attempted, strict=True)]
        maths_prompts = [builder.record(record).prompt for record in counted]
        solutions = generate(model, builder, maths_prompts, self.max_new_tokens, self.batch_size, advance)
        figures = {
            "code_nll": record_nll(model, builder, records, self.batch_size, advance),
            "valid_python": MetricValue(fmean(valid), len(valid)),
            "maths_nll": record_nll(model, builder, maths, self.batch_size, advance),
            "maths_right": exact_match(counted, solutions),
            NEUTRAL: neutral_perplexity(model, builder, self.batch_size, advance),
        }
        if self.run_code:
            samples = [[program] for program in programs]
            if self.samples > 1:
                samples = self._sampled(model, builder, attempted, prompts, advance)
            figures["pass_at_k"] = MetricValue(fmean(map(self._passes, attempted, samples)), len(attempted))
        return figures

    def _sampled(
        self,
        model: nn.Module,
        builder: PromptBuilder,
        problems: Sequence[Problem],
        prompts: Sequence[tuple[int, ...]],
        advance: Callable[[int], None],
    ) -> list[list[str]]:
        sampler = nucleus_sampler(self.seed, TEMPERATURE, TOP_P)
        repeated = [prompt for prompt in prompts for _ in range(self.samples)]
        answers = iter(generate(model, builder, repeated, self.max_new_tokens, self.batch_size, advance, sampler))
        return [[program_of(problem, next(answers)) for _ in range(self.samples)] for problem in problems]

    def _passes(self, problem: Problem, programs: list[str]) -> float:
        passed = sum(passes(problem, program) for program in programs)
        return pass_at_k(self.samples, passed, self.k)

    @cached_property
    def _problems(self) -> list[list[Problem]]:
        return parts(read_programs(self.data), CODE_SHARES, self.seed, self.data)

    @cached_property
    def _maths(self) -> list[list[Record]]:
        return parts(read_problems(self.maths), MATHS_SHARES, self.seed, self.maths)


def record_of(problem: Problem) -> Record:
    """Return a problem as a record of a question and an answer."""
    return question_record(problem.task_id, PROMPT.format(prompt=problem.prompt), problem.canonical_solution)


def prefilled_prompt(builder: PromptBuilder, problem: Problem) -> tuple[int, ...]:
    """Return the token ids of a problem's question and of the start of its answer, up to the function's body."""
    # A line break shares a token with the indentation after it. After a lone line break the model considers the function finished.
    return (*builder.record(record_of(problem)).prompt, *builder.unfinished_answer(PREFIX + problem.prompt.rstrip()))
