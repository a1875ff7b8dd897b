"""Split what a model writes into reasoning (`<think>…</think>` and the markers of other families) and answer."""

from dataclasses import dataclass

MARKERS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<unused94>thought", "<unused95>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)
"""(What begins the reasoning, what ends it). The last five are of Mistral, Cohere, OpenThinker, MedGemma and gpt-oss."""

Markers = tuple[str, str]


@dataclass(frozen=True)
class Answer:
    """What a model wrote.

    Attributes:
        text: the answer, without reasoning; empty if the reasoning did not end.
        reasoning: the text of the reasoning; empty if there is none.
        unfinished: whether the reasoning did not end.
    """

    text: str
    reasoning: str = ""
    unfinished: bool = False

    @property
    def whole(self) -> str:
        """Reasoning and answer as one text for a reader."""
        if not self.reasoning:
            return self.text
        return f"Reasoning: {self.reasoning}\n\nAnswer: {self.text or '(the reasoning did not end)'}"


def opened(prompt: str) -> Markers | None:
    """Return the markers of the reasoning that a prompt begins at its end; None if it begins none."""
    return next((markers for markers in MARKERS if prompt.rstrip().endswith(markers[0])), None)


def closing(prompt: str) -> str:
    """Return the text that ends the reasoning which a prompt begins, with no reasoning in it; empty if the prompt begins none."""
    markers = opened(prompt)
    return "" if markers is None else f"\n{markers[1]}\n\n"


def begins(text: str, within: Markers | None = None) -> Markers | None:
    """Return the markers of the reasoning that a text begins with; `within`: of the reasoning that its prompt begins."""
    if within is not None:
        return within
    return next((markers for markers in MARKERS if text.lstrip().startswith(markers[0])), None)


def split(text: str, within: Markers | None = None) -> Answer | None:
    """Split a text into reasoning and answer; None if there is no marker of reasoning in it.

    What stands before an end without a beginning is reasoning too.

    Args:
        text: decoded with its special tokens, which may be markers.
        within: the markers of the reasoning that the prompt begins, see `opened`.
    """
    answer, reasoning = "", []
    inside, rest = within, text
    while True:
        if inside is not None:
            body, ended, rest = rest.partition(inside[1])
            reasoning.append(body.replace(inside[0], ""))
            if not ended:
                return Answer(answer.strip(), _joined(reasoning), unfinished=True)
            inside = None
        found = min(((rest.find(marker), marker, pair) for pair in MARKERS for marker in pair if marker in rest), default=None)
        if found is None:
            break
        place, marker, pair = found
        answer, rest = answer + rest[:place], rest[place + len(marker) :]
        if marker == pair[0]:
            inside = pair
        else:
            reasoning.append(answer)
            answer = ""
    return Answer((answer + rest).strip(), _joined(reasoning)) if rest != text else None


def _joined(reasoning: list[str]) -> str:
    return "\n".join(part.strip() for part in reasoning if part.strip())
