"""Grade-school maths problems in GSM8K's format (Cobbe et al., 2021, arXiv 2110.14168), the retain set of the code task."""

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from statistics import fmean

from expunge.data.records import Record, read_records
from expunge.errors import InputError
from expunge.metrics.statistics import MetricValue

# A call of a calculator, as in "48/2=<<48/2=24>>24".
CALCULATOR_CALL = re.compile(r"<<[^>]*>>")
MARK = "####"
NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|-?\.\d+")


def read_problems(path: str) -> list[Record]:
    """Read problems from records with `question` and `answer`. The answer's last line is `#### ` and a number.

    The calculator calls `<<…>>` are removed.

    Raises:
        InputError: the first fault, as `file:line: what is wrong`.
    """
    problems = []
    for record in read_records(path):
        _, mark, last = record.answer.rpartition(MARK)
        if not mark or final_number(last) is None:
            raise InputError(f'{path}:{record.line}: the answer does not end in "{MARK} " and a number')
        problems.append(replace(record, answer=CALCULATOR_CALL.sub("", record.answer)))
    return problems


def final_number(text: str) -> Decimal | None:
    """Return the first number after `####`, else the last number of the text, else None; thousands may have commas."""
    _, mark, last = text.rpartition(MARK)
    numbers = NUMBER.findall(last)
    if not numbers:
        return None
    return Decimal((numbers[0] if mark else numbers[-1]).replace(",", ""))


def exact_match(problems: Sequence[Record], answers: Sequence[str]) -> MetricValue:
    """Return the share of answers with the right number. `answers`: at least one."""
    right = [final_number(answer) == final_number(problem.answer) for problem, answer in zip(problems, answers, strict=True)]
    return MetricValue(fmean(right), len(right))
