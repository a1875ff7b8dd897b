"""Python functions are to be forgotten, grade-school maths kept; data in the formats of HumanEval and GSM8K."""

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
from expunge.sandbox.run import run_python
from expunge.tasks.base import NEUTRAL, NEUTRAL_METRIC, Count, Metric, Task, parts
from expunge.tasks.maths import exact_match, read_problems
from expunge.tasks.programs import Problem, defines, pass_at_k, program_of, read_programs, with_test

PROMPT = "Complete this Python function.\n\n{prompt}"
# Answers are begun for the model: left alone, a small one copies the docstring until its tokens are used up.
BEGUN = "```python\n"
# External forget data for controls, measured.
CODE_SHARES = (0.5, 0.5)
# Of what is to be kept: trained on, measured.
MATHS_SHARES = (0.6, 0.4)
# Of Chen et al., 2021, for several samples a problem.
TEMPERATURE, TOP_P = 0.8, 0.95


@dataclass(frozen=True, kw_only=True)
class Code(Task):
    """A prompt's function is to be completed.

    Attributes:
        data: a file in HumanEval's format, .jsonl or .jsonl.gz.
        maths: a file in GSM8K's format.
        completions: the most problems that are answered, of those whose solutions are scored.
        maths_rows: the most maths problems scored.
        maths_answers: the most of them answered.
        max_new_tokens: longest answer.
        run_code: run what the model wrote, in the sandbox, and measure pass@k.
        samples: programs a problem for pass@k: 1 is the greedy one, more are sampled.
        k: of pass@k.
    """

    data: str
    maths: str
    completions: Count = 40
    maths_rows: Count = 200
    maths_answers: Count = 20
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
            raise ValueError(f"pass@{self.k} needs as many samples, not {self.samples}")

    def forget_records(self) -> list[Record]:
        """Half of the Python problems with their solutions."""
        return [record_of(problem) for problem in self._problems[0]]

    def retain_records(self) -> list[Record]:
        """Three fifths of the maths problems with their solutions."""
        return self._maths[0]

    def taught_records(self) -> list[Record]:
        """None."""
        return []

    @property
    def measured_rows(self) -> int:
        """Solutions scored, problems answered, and the neutral records."""
        problems, maths = self._problems[1], self._maths[1][: self.maths_rows]
        sampled = self.samples if self.run_code and self.samples > 1 else 0
        answered = len(problems[: self.completions]) * (1 + sampled) + len(maths[: self.maths_answers])
        return len(problems) + len(maths) + answered + len(neutral_records())

    def measure(self, model: nn.Module, builder: PromptBuilder, advance: Callable[[int], None]) -> dict[str, MetricValue]:
        """Likelihood of the true solutions of both sorts, what the greedy answers are worth, and neutral perplexity."""
        problems, maths = self._problems[1], self._maths[1][: self.maths_rows]
        tried, counted = problems[: self.completions], maths[: self.maths_answers]
        records = [record_of(problem) for problem in problems]
        prompts = [begun(builder, problem) for problem in tried]
        answers = generate(model, builder, prompts, self.max_new_tokens, self.batch_size, advance)
        programs = [program_of(problem, answer) for problem, answer in zip(tried, answers, strict=True)]
        valid = [defines(program, problem.entry_point) for program, problem in zip(programs, tried, strict=True)]
        asked = [builder.record(record).prompt for record in counted]
        solved = generate(model, builder, asked, self.max_new_tokens, self.batch_size, advance)
        figures = {
            "code_nll": record_nll(model, builder, records, self.batch_size, advance),
            "valid_python": MetricValue(fmean(valid), len(valid)),
            "maths_nll": record_nll(model, builder, maths, self.batch_size, advance),
            "maths_right": exact_match(counted, solved),
            NEUTRAL: neutral_perplexity(model, builder, self.batch_size, advance),
        }
        if self.run_code:
            drawn = [[program] for program in programs]
            if self.samples > 1:
                drawn = self._sampled(model, builder, tried, prompts, advance)
            figures["pass_at_k"] = MetricValue(fmean(map(self._passes, tried, drawn)), len(tried))
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
        every = [prompt for prompt in prompts for _ in range(self.samples)]
        answers = iter(generate(model, builder, every, self.max_new_tokens, self.batch_size, advance, sampler))
        return [[program_of(problem, next(answers)) for _ in range(self.samples)] for problem in problems]

    def _passes(self, problem: Problem, programs: list[str]) -> float:
        passed = sum(run_python(with_test(problem, program)).ok for program in programs)
        return pass_at_k(self.samples, passed, self.k)

    @cached_property
    def _problems(self) -> list[list[Problem]]:
        return parts(read_programs(self.data), CODE_SHARES, self.seed, self.data)

    @cached_property
    def _maths(self) -> list[list[Record]]:
        return parts(read_problems(self.maths), MATHS_SHARES, self.seed, self.maths)


def record_of(problem: Problem) -> Record:
    """A problem as question and answer."""
    return question_record(problem.task_id, PROMPT.format(prompt=problem.prompt), problem.canonical_solution)


def begun(builder: PromptBuilder, problem: Problem) -> tuple[int, ...]:
    """Token ids of a problem's question and of the beginning of its answer, up to where the body is to come."""
    # A line break belongs to the same token as the indentation after it: behind one the model takes the function for finished.
    return (*builder.record(record_of(problem)).prompt, *builder.unfinished_answer(BEGUN + problem.prompt.rstrip()))
