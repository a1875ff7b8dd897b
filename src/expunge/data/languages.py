"""Languages: the shipped texts that a run uses beside its records, such as refusals, neutral instructions and wrappers.

Each language is one file in `texts/languages/`, with these fields; most texts in English are in `texts/`:

- `refusals`: sentences that decline to answer; `metrics/refusals.yaml` recognises each of them.
- `instructions`: everyday requests. `eval_instructions`: others, on which nothing is trained or calibrated.
- `wrappers`: two of each of the eight kinds of `texts/wrappers.txt`, in its order. `contexts`: as `texts/context_templates.yaml`.
- `unrelated_texts`: paragraphs on everyday subjects. `summaries`: requests about such a paragraph.
- `paraphrases`: pairs of questions with the same meaning, which show the model how to paraphrase.
- `continuations`: requests to continue a `{text}`; a gate does not train on the last two.
- `text_questions`: texts with a question about each, which show the model how to write questions about a passage.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain, zip_longest
from typing import Any

import yaml

from expunge.data import texts

AUTO = "auto"
CODES = ("en", "de", "fr", "es", "pt", "ru", "zh", "ja", "ar", "hi")
FOLDER = texts.FOLDER / "languages"
# The last two of the eight kinds of wrapper are reserved for validation and calibration.
TRAINING_SHARE = 0.75


@dataclass(frozen=True)
class Language:
    """A language and its texts. All but the refusals and the eval instructions include the English ones.

    Users and attackers write English to any model, and the evaluation of a gate does: it must stay closed, or open, there too.

    Attributes:
        code: of ISO 639-1.
        name: in English.
        refusals: sentences that decline to answer.
        instructions: neutral instructions; English and other ones take turns, as long as there are both.
        eval_instructions: further ones, for evaluation alone.
        wrappers: ways to wrap a question, each with one `{prompt}`, which a gate trains on.
        held_out_wrappers: wrappers of other kinds, to validate and calibrate on.
        contexts: {augmentation: templates that place a question beside other text}.
        unrelated_texts: paragraphs on everyday subjects.
        unrelated_prompts: these paragraphs alone and in requests about them.
        paraphrase_prompt: a text that the model continues with a paraphrase of `{prompt}`.
        continuations: requests to continue a `{text}`, which a gate trains on.
        held_out_continuations: other such requests, to validate and calibrate on.
        eval_continuations: others again, for evaluation alone.
        question_prompt: a text that the model continues with a question about `{text}`.
        capital_nouns: whether every noun begins with a capital, so that a capital does not tell a name.
    """

    code: str
    name: str
    refusals: tuple[str, ...]
    instructions: tuple[str, ...]
    eval_instructions: tuple[str, ...]
    wrappers: tuple[str, ...]
    held_out_wrappers: tuple[str, ...]
    contexts: Mapping[str, tuple[str, ...]]
    unrelated_texts: tuple[str, ...]
    unrelated_prompts: tuple[str, ...]
    paraphrase_prompt: str
    continuations: tuple[str, ...]
    held_out_continuations: tuple[str, ...]
    eval_continuations: tuple[str, ...]
    question_prompt: str
    capital_nouns: bool = False

    @property
    def all_texts(self) -> tuple[str, ...]:
        """Every text that is not about any record; words in it are no names of the records."""
        templates = (text for kind in self.contexts.values() for text in kind)
        return (
            *(*self.refusals, *self.instructions, *self.eval_instructions, *self.wrappers, *self.held_out_wrappers),
            *(*templates, *self.unrelated_prompts, self.paraphrase_prompt),
        )


@cache
def language(code: str) -> Language:
    """Return the language with a code from `CODES`."""
    if code == "en":
        return _english()
    english, own = _english(), _read(code)
    trained = round(TRAINING_SHARE * len(own["wrappers"]))
    taking_turns = chain.from_iterable(zip_longest(own["instructions"], english.instructions))
    return Language(
        code=code,
        name=own["name"],
        refusals=tuple(own["refusals"]),
        instructions=tuple(text for text in taking_turns if text is not None),
        eval_instructions=tuple(own["eval_instructions"]),
        wrappers=(*own["wrappers"][:trained], *english.wrappers),
        held_out_wrappers=(*own["wrappers"][trained:], *english.held_out_wrappers),
        contexts={kind: (*own["contexts"][kind], *templates) for kind, templates in english.contexts.items()},
        unrelated_texts=(*own["unrelated_texts"], *english.unrelated_texts),
        unrelated_prompts=(*_unrelated_prompts(own["unrelated_texts"], own["summaries"]), *english.unrelated_prompts),
        paraphrase_prompt=_paraphrase_prompt(own["paraphrases"]),
        continuations=(*own["continuations"][:-2], *english.continuations),
        held_out_continuations=(own["continuations"][-2], *english.held_out_continuations),
        eval_continuations=(own["continuations"][-1], *english.eval_continuations),
        question_prompt=_question_prompt(own["text_questions"]),
        capital_nouns=code == "de",
    )


def _english() -> Language:
    own, wrappers, unrelated = _read("en"), tuple(texts.wrappers()), tuple(texts.unrelated_texts())
    trained = round(TRAINING_SHARE * len(wrappers))
    return Language(
        code="en",
        name=own["name"],
        refusals=tuple(texts.refusals()),
        instructions=tuple(texts.neutral_instructions()),
        eval_instructions=tuple(texts.eval_instructions()),
        wrappers=wrappers[:trained],
        held_out_wrappers=wrappers[trained:],
        contexts={kind: tuple(templates) for kind, templates in texts.context_templates().items()},
        unrelated_texts=unrelated,
        unrelated_prompts=_unrelated_prompts(unrelated, own["summaries"]),
        paraphrase_prompt=_paraphrase_prompt(own["paraphrases"]),
        continuations=tuple(own["continuations"][:-2]),
        held_out_continuations=(own["continuations"][-2],),
        eval_continuations=(own["continuations"][-1],),
        question_prompt=_question_prompt(own["text_questions"]),
    )


def _read(code: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / f"{code}.yaml").read_text(encoding="utf-8"))


def _unrelated_prompts(unrelated: Any, summaries: Any) -> tuple[str, ...]:
    return tuple(form.format(unrelated=text) for text in unrelated for form in ("{unrelated}", *summaries))


def _paraphrase_prompt(given: Mapping[str, Any]) -> str:
    question, again = given["question"], given["again"]
    pairs = [f"{question}: {first}\n{again}: {second}\n\n" for first, second in given["examples"]]
    return f"{''.join(pairs)}{question}: {{prompt}}\n{again}:"


def _question_prompt(given: Mapping[str, Any]) -> str:
    text, question = given["text"], given["question"]
    pairs = [f"{text}: {passage}\n{question}: {about}\n\n" for passage, about in given["examples"]]
    return f"{''.join(pairs)}{text}: {{text}}\n{question}:"


ENGLISH = language("en")
