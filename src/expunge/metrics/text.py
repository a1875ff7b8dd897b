"""Metrics of generated text: ROUGE-L recall, chrF, refusals, and degenerate outputs (empty, repetitive or noise)."""

import re
import unicodedata
import zlib
from functools import cache
from pathlib import Path

import yaml
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer, Tokenizer
from sacrebleu.metrics import CHRF

from expunge.data.normalise import normalise
from expunge.metrics.words import is_latin, runs, tokens, words

# At 0.42 none of TOFU's 4,000 true answers, real authors, world facts or GSM8K's 1,319 solutions is called degenerate (the highest is
# 0.415), and three of HumanEval's 164 solutions are (repetitive code). A repeated phrase scores above 0.5, repeated sentences 0.3 or
# more.
DEGENERATE = 0.42
# TOFU's answers compress to 0.55-1.0 of their length, GSM8K's solutions to no less than 0.35, loops to less than 0.25.
_LOOP_RATIO = 0.5
# From about 200 bytes on, text in natural or programming languages stays below 0.82, characters drawn at random above 0.88.
_NOISE_BYTES, _NOISE_RATIO = 200, 0.75
_FEW_IDEOGRAPHS = 0.05
# What stands between words in Tibetan and Ethiopic.
_SPACES = "\u0f0b\u0f0c\u1361"
# Size of an empty zlib stream.
_ZLIB_OVERHEAD = 8

ROUGE = "ROUGE-L recall of the greedy answer"
"""Description of `rouge_l_recall` of greedy answers, for figures and verdicts."""

_CHRF = CHRF()

_I = r"\b(i|we)"
_REFUSAL = re.compile(
    "|".join(
        (
            _I + r" (really |honestly |simply )?(do not|don't) (know|recall|remember|recogni[sz]e|possess|hold)\b",
            _I + r" (do not|don't) (actually )?have (access|any|the|that|this|enough|specific|details|information|knowledge|data)\b",
            _I + r" (cannot|can't|can not|could not|couldn't|won't|will not)"
            r" (help|answer|assist|provide|share|say|tell|give|discuss|disclose|comply|confirm|comment|recall|find|do that)\b",
            _I + r" (must|have to) decline\b",
            _I + r"( am|'m| are|'re) afraid (i|we)\b",
            _I + r"( am|'m| are|'re) not (able|sure|certain|aware|familiar|informed|knowledgeable|acquainted|allowed|permitted)\b",
            _I + r"( am|'m| are|'re) (unable|unaware|unfamiliar|uncertain|unsure|uninformed|drawing a blank)\b",
            _I + r"( have|'ve) (no|not been|never been|not learned|not learnt|never heard|yet to learn)\b",
            _I + r"( have|'ve) (never come across|nothing to (say|tell))\b",
            _I + r" (know nothing|lack (the|any) (information|knowledge|data)|can (offer|give) no)\b",
            _I + r" haven't (been|learned|learnt|heard|encountered|come across|got|the)\b",
            r"\bnot something (i|we)( can|'m| am|'ve| have| know)\b",
            r"\bnothing (i|we) can (tell|say)\b",
            r"\bmy (knowledge|information|training) (does not|doesn't) (cover|include|extend)\b",
            r"\b(is unknown|no .{1,40} (is|are) known) to me\b",
            r"\bi('d| would) rather not\b",
            r"\bi wish i (knew|could)\b",
            r"\b(beyond|outside|not in|not within|not part of) (the scope of )?(my|what i)\b",
            r"\bno (information|data|knowledge|records?) (is |are )?(available|about|on)\b",
            r"\binformation is (not available|unavailable)\b",
            r"\bas an (ai|artificial intelligence)\b",
        )
    ),
    re.IGNORECASE,
)
# A refusal stands at the beginning of an answer. Later in the text the same words may be a quotation.
_REFUSAL_SPAN = 160


def rouge_l_recall(prediction: str, truth: str, compat: bool = False) -> float:
    """Return the share of the truth's words in the longest common subsequence with the prediction (ROUGE-L, Lin, 2004).

    English words are those of the library `rouge-score`: runs of a-z and 0-9, with Porter's stems. It does not see other letters.
    Words with others stay whole, see `expunge.metrics.words`, unless most of their characters are a-z or 0-9: the field counts "García"
    as "garc" and "a", and so do we, lest numbers on English texts with foreign names differ.

    Args:
        prediction: the answer of a model.
        truth: the answer that is known.
        compat: count as `rouge-score` does in all scripts: the field's metric, which is 0 for a Russian answer against itself.

    Returns:
        A number from 0 to 1; 0 if the truth has no words, see `has_words`.
    """
    return _scorer(compat).score(truth, prediction)["rougeL"].recall


def chrf(prediction: str, truth: str) -> float:
    """Return the overlap of character n-grams up to 6, recall weighted twice (chrF2, Popović, 2015, W15-3049), in [0, 1].

    It knows no words, so it sees every script, inflected words and symbols. White space does not count, nor does case or another way to
    write the same letter. Unrelated texts in one language share letters and score about 0.1 to 0.25.
    """
    return _CHRF.sentence_score(normalise(prediction), [normalise(truth)]).score / 100


@cache
def _foreign_refusals() -> tuple[str, ...]:
    by_language = yaml.safe_load((Path(__file__).parent / "refusals.yaml").read_text(encoding="utf-8"))
    return tuple(_spaced(phrase) for phrases in by_language.values() for phrase in phrases)


def _spaced(text: str) -> str:
    return f" {' '.join(words(text))} "


@cache
def _scorer(compat: bool) -> RougeScorer:
    return RougeScorer(["rougeL"], use_stemmer=True, tokenizer=None if compat else _AnyScript())


class _AnyScript(Tokenizer):
    """The tokenizer of `rouge-score` for words that are mostly a-z; other words stay whole."""

    def __init__(self) -> None:
        self._english = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        if text.isascii():
            return self._english.tokenize(text)
        return [token for word in words(text) for token in (self._english.tokenize(word) if _is_english(word) else [word])]


def _is_english(word: str) -> bool:
    """Return whether most characters of a word are a-z or 0-9 and all are Latin."""
    return word.isascii() or (2 * sum(char.isascii() for char in word) > len(word) and is_latin(word))


def is_refusal(text: str) -> bool:
    """Return whether a text begins with a refusal: that it does not know or will not answer.

    The set of wordings is closed, large for English and small for the ten languages of `refusals.yaml`: other wordings are missed, and
    a hedge ("I'm not sure, but …") counts as a refusal. In any other language the answer is False, whatever the text says.
    """
    beginning = text[:_REFUSAL_SPAN]
    if _REFUSAL.search(beginning.replace("\u2019", "'")):
        return True
    spoken = _spaced(beginning)
    return any(phrase in spoken for phrase in _foreign_refusals())


def degeneracy(text: str) -> float:
    """Return how degenerate a text is, from 0 (ordinary) to 1 (empty, one repeated phrase, or noise).

    It is the largest of: the share of repeated word 3-grams (1 - distinct-3, Li et al., 2016, arXiv 1510.03055; 4-grams of characters
    where words have no spaces); how much better zlib compresses the text than language; how little zlib compresses a long text that is
    mostly ASCII; the share of symbols. Random words count as ordinary: only a language model could detect them.
    """
    if not text.strip():
        return 1.0
    is_ascii = 2 * sum(map(str.isascii, text)) >= len(text)
    raw = text.encode(errors="surrogatepass") if is_ascii else _letter_codes(text)
    ratio = (len(zlib.compress(raw, 9)) - _ZLIB_OVERHEAD) / len(raw)
    loop = 1 - ratio / _LOOP_RATIO
    # Ordinary text with ideographs hardly compresses at this length: it has most of them only once.
    compresses = is_ascii and sum(map(_is_ideograph, text)) < _FEW_IDEOGRAPHS * len(text)
    noise = (ratio - _NOISE_RATIO) / (1 - _NOISE_RATIO) if len(raw) >= _NOISE_BYTES and compresses else 0.0
    return min(1.0, max(0.0, _repeated_ngrams(text), loop, noise, _symbol_share(text)))


def is_degenerate(text: str) -> bool:
    """Return whether `degeneracy` reaches the threshold."""
    return degeneracy(text) >= DEGENERATE


def _letter_codes(text: str) -> bytes:
    """Return one byte per character where that is possible, so that zlib finds no repetition within the UTF-8 code of a script."""
    codes = {char: code for code, char in enumerate(sorted(set(text)))}
    return bytes(codes[char] for char in text) if len(codes) <= 256 else text.encode("utf-16-be", errors="surrogatepass")


def _repeated_ngrams(text: str) -> float:
    units = [token for token in tokens(text) if token not in _SPACES]
    in_runs = sum(len(run) for run in runs(text) if len(run) > 1)
    # In some 40 languages ordinary texts repeat at most 0.3 of these n-grams, but 0.44 of the 3-grams of characters.
    n = 4 if 2 * in_runs > len(units) else 3
    ngrams = list(zip(*(units[i:] for i in range(n)), strict=False))
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def _symbol_share(text: str) -> float:
    """Return the share of characters that are no letter, mark, digit or white space, in any script.

    An ideograph or a syllable stands for a word or a part of it, and weighs as much as two letters: 是。 is no worse an answer than "No.".
    """
    ordinary = symbols = 0
    for char in text:
        category = unicodedata.category(char)
        if char.isspace() or char in _SPACES or category[0] in "LMN":
            ordinary += 2 if _is_ideograph(char) else 1
        elif category != "Cf":
            symbols += 1
    return 1 - ordinary / (ordinary + symbols) if ordinary or symbols else 1.0


def _is_ideograph(char: str) -> bool:
    """Return whether a character is an ideograph, kana or a Korean syllable (or one of a few rare scripts behind them)."""
    return char >= "\u2e80" and unicodedata.category(char) == "Lo"
