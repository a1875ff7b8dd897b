"""The log of a search, one line per step: a killed search resumes from it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from expunge.documents import read_json_lines
from expunge.errors import ExpungeError
from expunge.files import PRIVATE, append_text, write_text
from expunge.models.finite import json_text


@dataclass(frozen=True)
class Query:
    """An instruction, the responses sampled for it, and their reward.

    Attributes:
        instruction: the prompt that the target got, see `RevealSection.prompt_template`; in direct mode the topic after the soft prompt.
        responses: the sampled texts.
        relevances: of each response, in [0, 1].
        relevance: their mean.
        diversity: of the responses, in [0, 1].
        reward: weighted harmonic mean of relevance and diversity.
        tokens: sampled tokens, which is what the query cost.
    """

    instruction: str
    responses: tuple[str, ...]
    relevances: tuple[float, ...]
    relevance: float
    diversity: float
    reward: float
    tokens: int


@dataclass(frozen=True)
class Step:
    """A step of a search, and a line of its log.

    Attributes:
        proposed: candidates that the searcher proposed.
        keys: of each candidate's query. Candidates with equal keys share one query; a candidate with an empty key has none.
        queries: those made in this step, by key.
    """

    proposed: list[int]
    keys: list[str]
    queries: dict[str, Query]


class SearchLog:
    """All queries of a search, and the file from which a killed search resumes.

    Attributes:
        queries: by key, in order.
    """

    def __init__(self, path: Path, samples: int, advance: Callable[[int], None]):
        """Open the log.

        Args:
            path: of the file.
            samples: responses for each query.
            advance: called with the number of responses that a step brings.
        """
        self.queries: dict[str, Query] = {}
        self._path, self._logged, self._samples, self._advance = path, read_log(path), samples, advance
        self._number = 0
        if path.exists() and not path.read_bytes().endswith(b"\n"):
            # A kill cut the last line short; the next one must not continue it.
            content = path.read_bytes()
            write_text(path, content[: content.rfind(b"\n") + 1].decode(), PRIVATE)

    @property
    def replaying(self) -> bool:
        """Whether the next step is in the file already."""
        return self._number < len(self._logged)

    def next_step(self, proposed: list[int] | None, keys: list[str] | None, make: Callable[[int], Step]) -> Step:
        """Return the next step: from the file, or made and appended to it.

        Args:
            proposed: the candidates that a logged step must have; None: any.
            keys: those that a logged step must have; None: any.
            make: makes a new step, given its number, which seeds the sampling.

        Raises:
            ExpungeError: the log is of a search with other settings.
        """
        if self.replaying:
            step = self._logged[self._number]
            if (proposed is not None and step.proposed != proposed) or (keys is not None and step.keys != keys):
                raise ExpungeError(f"{self._path}: is the log of a search with other settings; delete it to start again")
        else:
            step = make(self._number)
            append_text(self._path, json_text(asdict(step), str(self._path), ensure_ascii=False) + "\n", PRIVATE)
        self._number += 1
        self.queries |= step.queries
        self._advance(self._samples * len(step.queries))
        return step


def read_log(path: Path) -> list[Step]:
    """Return the steps in a log; a line that a kill cut short does not count."""
    if not path.exists():
        return []
    return read_json_lines(path, Step)
