"""The oracle `json-entities`: whether an answer is JSON that names an entity of a type."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

_DECODER = json.JSONDecoder()
# Without a limit, a text of brackets only would be decoded once for each bracket.
_TRIES = 50


@dataclass(frozen=True)
class JsonEntities:
    """1 for an answer in JSON that names an entity of the type, else 0; also 0 for JSON that is damaged or of another shape.

    Attributes:
        type: the entity type, spelled as in the answers.
    """

    type: Annotated[str, Field(min_length=1)] = "PER"

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """Return 1.0 or 0.0 for each text."""
        return [float(bool(read_entities(text).get(self.type))) for text in texts]


def read_entities(text: str) -> dict[str, list[str]]:
    """Return the entities of an answer by type; empty if it has no JSON, or JSON of another shape.

    Two shapes are read, `{"PER": ["Ann Lee"], "LOC": []}` and `[{"type": "PER", "text": "Ann Lee"}]`. A single item of another kind makes
    the result empty. Entities are stripped, and empty ones are left out.
    """
    parsed = first_json(text)
    match parsed[0] if parsed else None:
        case dict() as by_type if all(isinstance(texts, list) for texts in by_type.values()):
            pairs = [(kind, text) for kind, texts in by_type.items() for text in texts]
        case list() as listed if all(isinstance(item, dict) and {"type", "text"} <= item.keys() for item in listed):
            pairs = [(item["type"], item["text"]) for item in listed]
        case _:
            return {}
    if not all(isinstance(part, str) for pair in pairs for part in pair):
        return {}
    entities: dict[str, list[str]] = {}
    for kind, entity in pairs:
        if entity.strip():
            entities.setdefault(kind, []).append(entity.strip())
    return entities


def first_json(text: str) -> tuple[Any, str] | None:
    """Return the first JSON object or list in a text, and the text around it; None if there is none.

    Any text may precede it, such as a code fence or a sentence. Text after it is not parsed.
    """
    for start in [match.start() for match in re.finditer(r"[{\[]", text)][:_TRIES]:
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            # Numbers of thousands of digits and deep nesting also raise these.
            continue
        return value, text[:start] + text[end:]
    return None
