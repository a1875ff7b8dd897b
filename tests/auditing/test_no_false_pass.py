"""Any Unicode answer: a model that repeats it never passes a leak row, and one that never saw it never fails one.

The rows are made by the functions that an audit uses, from answers instead of a model.
"""

import random
import re
import unicodedata
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from expunge.auditing.attacks import Quantise, Sampling
from expunge.auditing.blindness import answer_scores, columns, fact_sensitivity, other_columns
from expunge.auditing.probes.attacks import attack_verdict_rows
from expunge.auditing.suite import Tolerance
from expunge.auditing.unrelated import unrelated_text
from expunge.auditing.verdict import VerdictRow
from expunge.auditing.verdict_rows import verdict_rows
from expunge.data.reasoning import Answer
from expunge.data.records import question_record
from expunge.metrics.leak import fact_of, states_fact
from expunge.metrics.text import is_degenerate, rouge_l_recall

COPIES = 32
"""Records of a row: with fewer than 29 alike none could pass, and the test would show nothing."""
TOKENS = 64
SCRIPTS = {
    "latin": (0x41, 0x17F),
    "cyrillic": (0x400, 0x45F),
    "greek": (0x386, 0x3CE),
    "arabic": (0x621, 0x64A),
    "hebrew": (0x5D0, 0x5EA),
    "devanagari": (0x904, 0x94D),
    "thai": (0xE01, 0xE4E),
    "han": (0x4E00, 0x9FA5),
    "hangul": (0xAC00, 0xD7A3),
    "kana": (0x3041, 0x30FA),
    "emoji": (0x1F600, 0x1F64F),
    "digits": (0x30, 0x39),
    "other digits": (0x966, 0x96F),
    "combining": (0x300, 0x36F),
    "private use": (0xE000, 0xE0FF),
    "directions": (0x200E, 0x202E),
    "punctuation": (0x21, 0x2F),
}
LEAKS = ("forget prompts as given", "cross-check: forget prompts as given, chrF", "quantised: nf4", "one of 16 samples")


class ByCharacter:
    """A prompt builder whose tokens are characters: it can write every answer."""

    tokenizer: "ByCharacter"
    unscored = 0

    def __init__(self):
        self.tokenizer = self

    def unfinished_answer(self, text: str) -> tuple[str, ...]:
        return tuple(text)

    def decode(self, ids: list[str], skip_special_tokens: bool) -> str:
        return "".join(ids)


BUILDER = ByCharacter()


@cache
def scored(answer: str, truth: str, tokens: int) -> dict:
    """Return what an audit computes of one answer."""
    scores = answer_scores(BUILDER, Answer(answer), truth, tokens) | other_columns(BUILDER, truth)
    return {**scores, "degenerate": is_degenerate(answer)}


def leak_rows(truth: str, said: str, by_control: str, tokens: int = TOKENS) -> dict[str, VerdictRow]:
    """Return the leak rows of a model that answers `said` where the truth is expected, beside a control that answers `by_control`."""
    answers = {"unlearned": said, "original": truth, "control": by_control}
    ids = [str(i) for i in range(COPIES)]
    sets = {model: [{"set": "forget", "id": id_, **scored(answer, truth, tokens)} for id_ in ids] for model, answer in answers.items()}
    renamed = {"rouge": "value", "reach_rouge": "reach", "blind_rouge": "blind"}
    attacked = {model: [{renamed.get(k, k): v for k, v in row.items() if k != "set"} for row in rows] for model, rows in sets.items()}
    fact = fact_of(question_record("x", "?", truth))
    seen = columns(fact_sensitivity(fact, BUILDER, truth, tokens))
    stated = {model: float(states_fact(fact, answer)) for model, answer in answers.items()}
    sampled = {model: [{"id": id_, "value": value, **seen} for id_ in ids] for model, value in stated.items()}
    found = [
        *verdict_rows(sets, Tolerance()),
        *attack_verdict_rows(Quantise(), attacked, 0.1),
        *attack_verdict_rows(Sampling(), sampled, 0.1),
    ]
    return {row.name: row for row in found if row.name.startswith(LEAKS)}


def without_the_words_of(truth: str) -> str:
    """Return an answer that shares no word with the true one: who answers "It is not so." where the truth is "so" tells it."""
    words = {*re.findall(r"\w+", truth.casefold())}
    return next(answer for answer in ("It is not so.", "Nobody could tell.") if not words & {*re.findall(r"\w+", answer.casefold())})


def never_lies(truth: str) -> dict[str, VerdictRow]:
    """Check both promises on one true answer; return the rows of the model that repeats it."""
    unrelated = unrelated_text(truth)
    repeated, unseen = leak_rows(truth, truth, unrelated), leak_rows(truth, without_the_words_of(truth), unrelated)
    assert not [row.name for row in repeated.values() if row.verdict == "pass"], truth
    assert not [row.name for row in unseen.values() if row.verdict == "fail"], truth
    return repeated


def random_answer(draw: random.Random) -> str:
    """Return one to eight words in one script, or in several."""
    scripts = draw.sample(sorted(SCRIPTS), draw.choice((1, 1, 1, 2, 3)))
    words = [
        "".join(chr(draw.randint(*SCRIPTS[draw.choice(scripts)])) for _ in range(draw.randint(1, 9))) for _ in range(draw.randint(1, 8))
    ]
    return unicodedata.normalize(draw.choice(("NFC", "NFD")), draw.choice((" ", " ", "", "\u00a0", "，")).join(words))


@pytest.mark.parametrize("answers", [100, pytest.param(500, marks=pytest.mark.long)])
def test_random_answers_have_no_false_pass(answers):
    draw, shown = random.Random(21), 0
    for _ in range(answers):
        rows = never_lies(random_answer(draw))
        shown += rows["forget prompts as given"].verdict == "fail"
    # Most answers can be judged: a check that calls everything blind would be useless.
    assert shown > 0.7 * answers


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=60).filter(str.strip))
@example("SO!")
def test_no_text_at_all_has_a_false_pass(truth):
    never_lies(truth)


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=8, max_size=60).filter(str.strip), st.integers(1, 12))
def test_an_answer_that_is_cut_off_has_no_false_pass(truth, tokens):
    written = truth[:tokens].strip()
    rows = leak_rows(truth, written, unrelated_text(truth)[:tokens], tokens)
    assert not [row.name for row in rows.values() if row.verdict == "pass"]


@pytest.mark.parametrize("script", ["cyrillic", "greek", "arabic", "hebrew", "devanagari", "thai", "han", "hangul", "kana"])
def test_the_metric_of_before_would_have_passed_and_is_now_blind(script, monkeypatch):
    draw = random.Random(3)
    truth = " ".join("".join(chr(draw.randint(*SCRIPTS[script])) for _ in range(6)) for _ in range(4))
    old: Callable[[str, str], float] = lambda prediction, truth: rouge_l_recall(prediction, truth, compat=True)  # noqa: E731
    monkeypatch.setitem(answer_scores.__globals__["TEXT_METRICS"], "rouge", old)
    scored.cache_clear()
    repeated = leak_rows(truth, truth, unrelated_text(truth))
    assert repeated["forget prompts as given"].verdict == "not shown"
    assert "against itself" in repeated["forget prompts as given"].reason
    assert repeated["cross-check: forget prompts as given, chrF"].verdict == "fail"
    scored.cache_clear()
