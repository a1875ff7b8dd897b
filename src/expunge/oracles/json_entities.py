"""Does the answer parse as JSON and name an entity of a type (the task of named entities)?"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

_DECODER = json.JSONDecoder()
# A text of nothing but brackets would be decoded once for each of them.
_TRIES = 50


@dataclass(frozen=True)
class JsonEntities:
    """1 for an answer in JSON that names an entity of the type, else 0; a broken answer earns nothing for its good part.

    Attributes:
        type: the entity type, as the answers write it.
    """

    type: Annotated[str, Field(min_length=1)] = "PER"

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """1.0 or 0.0 for each text."""
        return [float(bool(read_entities(text).get(self.type))) for text in texts]


def read_entities(text: str) -> dict[str, list[str]]:
    """The entities of an answer, by type: none if it has no JSON or JSON of another shape.

    Two shapes are read, `{"PER": ["Ann Lee"], "LOC": []}` and `[{"type": "PER", "text": "Ann Lee"}]`; one item of another kind
    makes the whole another shape. Entities are stripped, and empty ones left out.
    """
    found = first_json(text)
    match found[0] if found else None:
        case dict() as by_type if all(isinstance(texts, list) for texts in by_type.values()):
            pairs = [(kind, text) for kind, texts in by_type.items() for text in texts]
        case list() as listed if all(isinstance(item, dict) and {"type", "text"} <= item.keys() for item in listed):
            pairs = [(item["type"], item["text"]) for item in listed]
        case _:
            return {}
    if not all(isinstance(part, str) for pair in pairs for part in pair):
        return {}
    entities: dict[str, list[str]] = {}
    for kind, said in pairs:
        if said.strip():
            entities.setdefault(kind, []).append(said.strip())
    return entities


def first_json(text: str) -> tuple[Any, str] | None:
    """The first JSON object or list in a text, and the text around it; none if there is none.

    Text before it may be anything, a code fence or a sentence; what comes after it is not read.
    """
    for start in [found.start() for found in re.finditer(r"[{\[]", text)][:_TRIES]:
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            # Besides what is no JSON: numbers of thousands of digits, and brackets too deep.
            continue
        return value, text[:start] + text[end:]
    return None
