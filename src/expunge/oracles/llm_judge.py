"""The oracle `llm-judge`: a number that another language model gives a text, over the OpenAI-compatible chat protocol."""

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

from expunge.documents import parse_json
from expunge.errors import ExpungeError, InputError

KEY = "EXPUNGE_JUDGE_KEY"
"""Environment variable with the endpoint's API key, if it needs one."""

_SLOT = "{text}"
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
# Enough for a number and a few words around it. A model that reasons first does not reach its number.
_MAX_TOKENS = 32
_MAX_ANSWER_BYTES = 2**20


@dataclass(frozen=True)
class LlmJudge:
    """The first number from 0 to 10 in the judge's answer, divided by 10. Every text is sent to this address.

    A text can manipulate the judge (prompt injection): do not use it as the only oracle.

    Attributes:
        url: the address up to `/v1`, such as `http://localhost:8000/v1`.
        model: its name there.
        question: a prompt for one number from 0 to 10; `{text}` stands for the text.
        timeout: seconds to wait for one answer.
    """

    url: str
    model: Annotated[str, Field(min_length=1)]
    question: str
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0

    def __post_init__(self) -> None:
        """Raise ValueError if the address or the question cannot be used."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url: must begin with http:// or https:// and name a host")
        if parts.username is not None or parts.query:
            raise ValueError(f"url: must not contain a key; set the environment variable {KEY}")
        if _SLOT not in self.question:
            raise ValueError(f"question: must contain {_SLOT}, which stands for the text")

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """Return a number for each text; 0 if the judge gives none, as when it refuses.

        Raises:
            ExpungeError: the endpoint does not answer, or its answer is not a chat completion.
        """
        return [(_first_number(self._query(text)) or 0.0) / 10 for text in texts]

    def _query(self, text: str) -> str:
        # Not by str.format, because a text may contain braces.
        messages = [{"role": "user", "content": self.question.replace(_SLOT, text)}]
        body = {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": _MAX_TOKENS}
        # JSON escapes can encode lone surrogates, which UTF-8 cannot.
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        if key := os.environ.get(KEY):
            # Unredirected: the key must not reach another host.
            request.add_unredirected_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                # An endpoint may send without an end.
                return _content(parse_json(response.read(_MAX_ANSWER_BYTES).decode(), self.url, "its answer"))
        except (OSError, HTTPException) as error:
            raise ExpungeError(f"llm-judge: {self.url} does not answer: {error}") from error
        except (InputError, ValueError, LookupError, TypeError) as error:
            raise ExpungeError(f"llm-judge: the answer of {self.url} is no chat completion; give the address up to /v1") from error


def _content(answer: Any) -> str:
    content = answer["choices"][0]["message"]["content"]
    if not isinstance(content, str):
        raise TypeError("the content of a message must be a string")
    return content


def _first_number(answer: str) -> float | None:
    numbers = map(float, _NUMBER.findall(answer))
    return next((number for number in numbers if number <= 10), None)
