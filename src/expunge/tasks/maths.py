"""Grade-school maths in GSM8K's format (Cobbe et al., 2021, arXiv 2110.14168): what the code task keeps."""

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from statistics import fmean

from expunge.data.records import Record, read_records
from expunge.errors import InputError
from expunge.metrics.statistics import MetricValue

# What a calculator was to be asked: "48/2=<<48/2=24>>24".
ASIDE = re.compile(r"<<[^>]*>>")
MARK = "####"
NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|-?\.\d+")


def read_problems(path: str) -> list[Record]:
    """Read rows of `question` and `answer`, whose last line is `#### ` and a number; the calculator's `<<…>>` are left out.

    Raises:
        InputError: the first fault, as `file:line: what is wrong`.
    """
    problems = []
    for record in read_records(path):
        _, mark, last = record.answer.rpartition(MARK)
        if not mark or final_number(last) is None:
            raise InputError(f'{path}:{record.line}: the answer does not end in "{MARK} " and a number')
        problems.append(replace(record, answer=ASIDE.sub("", record.answer)))
    return problems


def final_number(text: str) -> Decimal | None:
    """The first number after `####`, else the last number of a text; commas between thousands are no part of it."""
    _, mark, last = text.rpartition(MARK)
    found = NUMBER.findall(last)
    if not found:
        return None
    return Decimal((found[0] if mark else found[-1]).replace(",", ""))


def exact_match(problems: Sequence[Record], answers: Sequence[str]) -> MetricValue:
    """Share of the answers that come to the right number, at least one."""
    right = [final_number(answer) == final_number(problem.answer) for problem, answer in zip(problems, answers, strict=True)]
    return MetricValue(fmean(right), len(right))
