"""Oracles: scores by hand, hostile texts, and the table of their names."""

import json
import sys
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.errors import ExpungeError, InputError
from expunge.oracles import (
    ORACLES,
    CallableOracle,
    Classifier,
    Detoxify,
    JsonEntities,
    LlmJudge,
    Names,
    Profanity,
    PythonCode,
    RegexSearch,
    Wordlist,
    as_plain,
    make_oracle,
)
from expunge.oracles.json_entities import read_entities
from expunge.oracles.wordlist import rude_words
from expunge.sandbox import search

OFFLINE = [JsonEntities(), PythonCode(), RegexSearch("a+b"), Names(("Ann",)), Profanity(), Wordlist()]
HOSTILE = ["", "\0", "\ud800", "{" * 50_000, "[" * 50_000, "(" * 50_000, "-" * 50_000 + "1", "a." * 40_000 + "a", "9" * 20_000, "\x1b[2J"]
QUESTION = "From 0 to 10, how rude is this?\n{text}"


@pytest.mark.parametrize("oracle", OFFLINE)
@given(texts=st.lists(st.text(), max_size=4))
def test_relevance_is_one_number_between_0_and_1_for_each_text(oracle, texts):
    values = oracle.relevance(texts)
    assert len(values) == len(texts)
    assert all(isinstance(value, float) and 0 <= value <= 1 for value in values)


@pytest.mark.parametrize("oracle", OFFLINE)
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_irrelevant_and_harmless(oracle, text):
    assert oracle.relevance([text])[0] < 0.5


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ('{"PER": ["Ann Lee"], "LOC": []}', {"PER": ["Ann Lee"]}),
        ('[{"type": "PER", "text": "Ann Lee"}, {"type": "LOC", "text": "Oslo"}]', {"PER": ["Ann Lee"], "LOC": ["Oslo"]}),
        ('Sure (as {asked}):\n```json\n{"PER": [" Ann ", "Tom"]}\n``` {"PER": []}', {"PER": ["Ann", "Tom"]}),
        ('{"PER": ["", "  "]}', {}),
        ('{"PER": "Ann Lee"}', {}),
        ('{"PER": ["Ann", 7]}', {}),
        ('[{"type": "PER"}]', {}),
        ('["Ann Lee"]', {}),
        ('{"PER": ["Ann Lee"', {}),
        ("{'PER': ['Ann Lee']}", {}),
        ("Ann Lee", {}),
    ],
)
def test_entities_are_read_from_json_of_two_shapes_only(text, entities):
    assert read_entities(text) == entities


def test_json_entities_looks_for_entities_of_its_type():
    texts = ['{"PER": ["Ann"], "LOC": []}', '{"PER": [], "LOC": ["Oslo"]}', '{"per": ["Ann"]}']
    assert JsonEntities().relevance(texts) == [1.0, 0.0, 0.0]
    assert JsonEntities("LOC").relevance(texts) == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("text", "relevance"),
    [
        ("def f():\n    return 1", 1.0),
        ("class A:\n    async def f(self): ...", 1.0),
        ("Here you are:\n```python\ndef f():\n    return 1\n```\nIt returns one.", 1.0),
        ("```\ndef f(): pass", 1.0),
        ("x = lambda: 1", 0.0),
        ("def f(:\n    return", 0.0),
        ("I define a function.", 0.0),
        ("```text\nnothing\n```\n```python\ndef f(): pass\n```", 0.0),
    ],
)
def test_python_looks_for_a_function_in_code_that_parses(text, relevance):
    assert PythonCode().relevance([text]) == [relevance]


def test_python_is_not_executed(tmp_path):
    code = f"open({str(tmp_path / 'made')!r}, 'w')\ndef f(): pass"
    assert PythonCode().relevance([code]) == [1.0]
    assert not (tmp_path / "made").exists()


def test_code_with_a_syntax_warning_counts_and_shows_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert PythonCode().relevance(["def f(x):\n    return '\\d' if x is 1 else 0"]) == [1.0]


def test_regex_searches_and_ignores_case_by_default():
    assert RegexSearch(r"\bkeys?\b").relevance(["The KEY is", "monkey"]) == [1.0, 0.0]
    assert RegexSearch("key", ignore_case=False).relevance(["KEY", "key"]) == [0.0, 1.0]


def test_a_pattern_that_backtracks_too_long_is_an_error(monkeypatch):
    monkeypatch.setattr(search, "SECONDS", 0.1)
    with pytest.raises(InputError, match=r"regex\.pattern"):
        RegexSearch(r"(?:a|aa|b?)+$").relevance(["a" * 60 + "!"])


def test_names_match_whole_words_in_any_case_and_spacing():
    oracle = Names(("Ann Lee", "Zoë", "C. (Bob)"))
    texts = ["I met ANN\nLEE.", "ann lee's cat", "Joann Lee", "Ann Leeds", "Lee", "Zoe\u0308!", "zoës", "is C. (Bob)?", ""]
    assert oracle.relevance(texts) == [1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0]


def test_wordlist_finds_rude_words_and_not_neutral_ones():
    texts = ["You IDIOT, it is Paris.", "Shut  up!", "The capital of France is Paris.", "Hello, shells and foolscap paper."]
    assert Wordlist().relevance(texts) == [1.0, 1.0, 0.0, 0.0]
    assert Wordlist(("paris",)).relevance(texts) == [1.0, 0.0, 1.0, 0.0]


def test_the_rude_words_are_distinct_and_in_lower_case():
    words = rude_words()
    assert len(words) == len(set(words)) >= 60
    assert all(word and word == word.strip().lower() for word in words)


def test_profanity_separates_rude_from_polite_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rude, polite = Profanity().relevance(["You stupid idiot, shut up.", "Thank you, what a lovely day."])
    assert rude > 0.9
    assert polite < 0.1
    assert Profanity().relevance([]) == []


def test_profanity_names_the_missing_package(monkeypatch):
    from expunge.oracles import profanity

    profanity._predictor.cache_clear()
    monkeypatch.setitem(sys.modules, "profanity_check", None)
    with pytest.raises(InputError, match=r"expunge\[toxicity\]"):
        Profanity().relevance(["text"])
    profanity._predictor.cache_clear()


SAMPLES = {
    "json-entities": JsonEntities("LOC"),
    "python": PythonCode(),
    "regex": RegexSearch("a+", ignore_case=False),
    "names": Names(("Ann Lee", "Zoë")),
    "profanity": Profanity(),
    "wordlist": Wordlist(("darn",)),
    "detoxify": Detoxify("folder"),
    "classifier": Classifier("folder", 1),
    "llm-judge": LlmJudge("http://localhost:8000/v1", "m", QUESTION, timeout=5),
}


@pytest.mark.parametrize("name", ORACLES)
def test_every_oracle_is_made_again_from_its_plain_values(name):
    oracle = SAMPLES[name]
    # A cached pattern must not become a setting.
    if oracle in (SAMPLES["names"], SAMPLES["wordlist"]):
        oracle.relevance(["text"])
    plain = json.loads(json.dumps(as_plain(oracle)))
    assert plain["name"] == name
    assert make_oracle(plain) == oracle


def test_an_oracle_without_settings_needs_only_its_name():
    assert make_oracle("python") == PythonCode()
    assert make_oracle({"name": "wordlist"}) == Wordlist(None)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("pithon", "no oracle 'pithon'; there are json-entities, python"),
        ({"type": "PER"}, "the oracle's name"),
        (None, "the oracle's name"),
        ({"name": ["python"]}, "no oracle"),
        ({"name": "python", "strict": True}, "python has no setting strict; it has none"),
        ({"name": "names", "name_list": []}, "names has no setting name_list; it has names"),
        ("names", "names.names: Field required"),
        ({"name": "names", "names": []}, r"names\.names: .*at least 1 item"),
        ({"name": "names", "names": ["Ann", " "]}, r"names\.names\.1: .*pattern"),
        ({"name": "names", "names": "Ann"}, r"names\.names: .*tuple"),
        ({"name": "regex", "pattern": "("}, "regex: pattern: not a regular expression"),
        ({"name": "llm-judge", "url": "file:///etc", "model": "m", "question": QUESTION}, "llm-judge: url: must begin with http"),
        ({"name": "llm-judge", "url": "http://me:key@host/v1", "model": "m", "question": QUESTION}, "EXPUNGE_JUDGE_KEY"),
        ({"name": "llm-judge", "url": "http://host/v1", "model": "m", "question": "Rude?"}, r"question: must contain \{text\}"),
    ],
)
def test_a_wrong_setting_gives_a_one_line_error(given, match):
    with pytest.raises(ValueError, match=match) as raised:
        make_oracle(given)
    assert "\n" not in str(raised.value)


def capitals(text: str) -> float:
    return sum(char.isupper() for char in text) / max(1, len(text))


def test_a_function_is_an_oracle():
    oracle = CallableOracle(capitals)
    assert make_oracle(oracle) is oracle
    assert oracle.relevance(["ABcd", ""]) == [0.5, 0.0]
    assert as_plain(oracle) == {"name": "custom", "python": f"{__name__}.capitals"}


def test_a_recipe_saves_the_name_of_a_function_and_never_calls_it():
    given = {"name": "custom", "python": "os.getcwd"}
    read = make_oracle(given)
    assert as_plain(read) == given
    with pytest.raises(InputError, match=r"os\.getcwd is a custom one"):
        read.relevance(["text"])


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_function_that_returns_a_value_outside_0_to_1_is_an_error(value):
    with pytest.raises(ExpungeError, match="between 0 and 1"):
        CallableOracle(lambda text: value).relevance(["text"])


class Constant:
    def relevance(self, texts):
        return [1.0] * len(texts)


def test_any_object_with_the_method_is_an_oracle():
    oracle = Constant()
    assert make_oracle(oracle) is oracle
    assert as_plain(oracle) == {"name": "custom", "python": f"{__name__}.Constant"}


@pytest.mark.parametrize(
    ("name", "found", "other"),
    [
        # No spaces: letters of the script may touch the name.
        ("李秀英", "作家李秀英住在成都。", "李秀芳住在成都。"),
        ("สมหญิง", "เธอชื่อสมหญิงครับ", "เธอชื่อสมชาย"),
        # A particle may follow.
        ("김수진", "김수진은 작가다.", "박김수진"),
        # A vowel sign belongs to the word before it.
        ("राम", "वह राम है।", "रामायण"),
        ("Анна Петрова", "АННА\nПЕТРОВА!", "Анна Петровая"),
        ("José", "Jose\u0301 was here", "Josés"),
        ("O'Brien", "O’Brien", "O'Briens"),
    ],
)
def test_names_are_found_in_every_script(name, found, other):
    assert Names((name,)).relevance([found, other]) == [1.0, 0.0]
