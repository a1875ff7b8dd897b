"""What a search has asked, kept line by line, so that one that was stopped goes on after its last asking."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from expunge.errors import ExpungeError
from expunge.files import PRIVATE, write_text
from expunge.reveal_release.reveal.private_files import append_private


@dataclass(frozen=True)
class Asked:
    """An instruction, what was answered to it, and what that is worth.

    Attributes:
        instruction: what the target was asked, see `RevealSection.prompt_template`; in direct mode what followed the soft prompt.
        responses: the sampled texts.
        relevances: of each.
        relevance, diversity: of the set.
        score: their weighted harmonic mean.
        tokens: sampled for the responses, which is what asking costs.
    """

    instruction: str
    responses: tuple[str, ...]
    relevances: tuple[float, ...]
    relevance: float
    diversity: float
    score: float
    tokens: int


@dataclass(frozen=True)
class Turns:
    """One asking of several candidates, a line of the log.

    Attributes:
        proposed: the candidates.
        keys: what each of them asks: those with the same key ask the same, and are asked once. Empty: nothing.
        asked: by key, what was asked now.
    """

    proposed: list[int]
    keys: list[str]
    asked: dict[str, Asked]


class Notebook:
    """All that was asked, and its log on the disk, from which a search that was stopped goes on.

    Attributes:
        asked: by key.
        replaying: whether the next line is read, not made.
    """

    def __init__(self, path: Path, samples: int, advance: Callable[[int], None]):
        self.asked: dict[str, Asked] = {}
        self._path, self._logged, self._samples, self._advance = path, read_log(path), samples, advance
        self._number = 0
        if path.exists() and not path.read_bytes().endswith(b"\n"):
            # The next line would go on in the one that a kill cut short.
            whole = path.read_bytes()
            write_text(path, whole[: whole.rfind(b"\n") + 1].decode(), PRIVATE)

    @property
    def replaying(self) -> bool:
        """Whether the next line stands in the log already."""
        return self._number < len(self._logged)

    def next(self, proposed: list[int] | None, keys: list[str] | None, make: Callable[[int], Turns]) -> Turns:
        """The next line: read, or made and written.

        Args:
            proposed: candidates that it is of, where the caller knows; none: whatever the log says.
            keys: likewise.
            make: makes it; given its number, to draw by.

        Raises:
            ExpungeError: the log is of another search.
        """
        if self.replaying:
            turns = self._logged[self._number]
            if (proposed is not None and turns.proposed != proposed) or (keys is not None and turns.keys != keys):
                raise ExpungeError(f"{self._path}: is of a search with other settings; delete it to begin anew")
        else:
            turns = make(self._number)
            append_private(self._path, json.dumps(asdict(turns), ensure_ascii=False))
        self._number += 1
        self.asked |= turns.asked
        self._advance(self._samples * len(turns.asked))
        return turns


def read_log(path: Path) -> list[Turns]:
    """What was asked so far; a line that a kill cut short does not count."""
    if not path.exists():
        return []
    # As bytes: a kill may have cut a character.
    lines = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    return [Turns(line["proposed"], line["keys"], {key: _asked(**one) for key, one in line["asked"].items()}) for line in lines]


def _asked(responses: list[str], relevances: list[float], **rest: Any) -> Asked:
    return Asked(responses=tuple(responses), relevances=tuple(relevances), **rest)
