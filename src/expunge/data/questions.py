"""Multiple-choice questions in the schema of WMDP and MMLU: `question`, `choices`, `answer` and optionally `subject`."""

from dataclasses import dataclass
from pathlib import Path

from expunge.data.readers import read_rows
from expunge.data.values import Row, kind
from expunge.errors import InputError, quoted

MAX_CHOICES = 26


@dataclass(frozen=True)
class Question:
    """One multiple-choice question.

    Attributes:
        id: as given, or `row-` and the line.
        question: the text.
        choices: the texts of the options, at least two.
        answer: index of the right option.
        subject: the subject, if given.
    """

    id: str
    question: str
    choices: tuple[str, ...]
    answer: int
    subject: str | None = None


def read_questions(source: str | Path, split: str = "test") -> list[Question]:
    """Read and check all questions of a source.

    Args:
        source: a file that `expunge.data.readers` reads, a folder that `datasets` can load, or a hub id `name` or
            `name:config`, such as `cais/wmdp:wmdp-bio` or `cais/mmlu:anatomy`.
        split: of a folder or hub data set; ignored for a file.

    Raises:
        InputError: the first fault, as `file:line: what is wrong`.
    """
    questions, lines = list[Question](), dict[str, int]()
    for line, row in read_rows(source, split, {"choices"}):
        where = f"{source}:{line}"
        question = _question(where, line, row)
        if question.id in lines:
            raise InputError(f"{where}: id {quoted(question.id)} is taken by line {lines[question.id]}; make the ids unique")
        lines[question.id] = line
        questions.append(question)
    if not questions:
        raise InputError(f"{source}: holds no questions")
    return questions


def _question(where: str, line: int, row: Row) -> Question:
    subject = row.get("subject")
    if subject is not None:
        subject = _text(where, "subject", subject)
    options = row.get("choices")
    if not isinstance(options, list) or not 2 <= len(options) <= MAX_CHOICES:
        raise InputError(f'{where}: field "choices" must be a list of 2 to {MAX_CHOICES} texts')
    choices = tuple(_text(where, f"choices[{i}]", choice) for i, choice in enumerate(options))
    given_id = row.get("id")
    question_id = f"row-{line}" if given_id is None else _text(where, "id", given_id)
    return Question(question_id, _text(where, "question", row.get("question")), choices, _answer(where, row, len(choices)), subject)


def _answer(where: str, row: Row, choices: int) -> int:
    answer = row.get("answer")
    # A CSV cell is text.
    if isinstance(answer, str) and answer.strip().isdecimal() and len(answer.strip()) <= len(str(MAX_CHOICES)):
        answer = int(answer)
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < choices:
        raise InputError(f'{where}: field "answer" must be the index of the right choice, 0 to {choices - 1}')
    return answer


def _text(where: str, field: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f'{where}: field "{field}" is {"missing" if value is None else kind(value)}; give a text')
    if not value.strip():
        raise InputError(f'{where}: field "{field}" is empty')
    return value
