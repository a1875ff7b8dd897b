"""What another language model says of the text, asked over the OpenAI-compatible chat protocol."""

import json
import os
import re
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field

from expunge.errors import ExpungeError

KEY = "EXPUNGE_JUDGE_KEY"
"""The environment variable with the endpoint's key, if it wants one."""

_SLOT = "{text}"
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
# Enough for a number and a few words around it; a model that thinks aloud first does not get to its number.
_MAX_TOKENS = 32


@dataclass(frozen=True)
class LlmJudge:
    """The first number from 0 to 10 in the judge's answer, divided by 10. Every text is sent to the address given.

    A text may talk the judge into a number: do not let it be the only one.

    Attributes:
        url: the address up to `/v1`, such as `http://localhost:8000/v1`.
        model: its name there.
        question: with `{text}` where the text goes; it should ask for one number from 0 to 10.
        timeout: seconds that one answer may take.
    """

    url: str
    model: Annotated[str, Field(min_length=1)]
    question: str
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0

    def __post_init__(self) -> None:
        """Raise ValueError for an address or a question that cannot be used."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url: must begin with http:// or https:// and name a host")
        if parts.username is not None or parts.query:
            raise ValueError(f"url: a key has no place there; set the environment variable {KEY}")
        if _SLOT not in self.question:
            raise ValueError(f"question: must hold {_SLOT} where the text goes")

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """A number for each text; 0 where the judge names none, as when it refuses.

        Raises:
            ExpungeError: the endpoint does not answer, or not in the protocol.
        """
        return [(_first_number(self._ask(text)) or 0.0) / 10 for text in texts]

    def _ask(self, text: str) -> str:
        # Not str.format: a text may hold braces.
        messages = [{"role": "user", "content": self.question.replace(_SLOT, text)}]
        asked = {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": _MAX_TOKENS}
        # JSON's own escapes also carry lone surrogates, which UTF-8 cannot.
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", json.dumps(asked).encode())
        request.add_header("Content-Type", "application/json")
        if key := os.environ.get(KEY):
            # A redirection to another host does not get it.
            request.add_unredirected_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                return _content(json.load(response))
        except (OSError, HTTPException) as error:
            raise ExpungeError(f"llm-judge: {self.url} does not answer: {error}") from error
        except (ValueError, LookupError, TypeError) as error:
            raise ExpungeError(f"llm-judge: what {self.url} answers is no chat completion; is the address right up to /v1?") from error


def _content(answer: Any) -> str:
    content = answer["choices"][0]["message"]["content"]
    if not isinstance(content, str):
        raise TypeError("the content of a message is text")
    return content


def _first_number(answer: str) -> float | None:
    numbers = map(float, _NUMBER.findall(answer))
    return next((number for number in numbers if number <= 10), None)
