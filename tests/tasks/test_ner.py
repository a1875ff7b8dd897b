"""Entities: the file, the answer, strict F1 by hand and against counting texts."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_files import written

from expunge.errors import InputError
from expunge.oracles import JsonEntities
from expunge.tasks import Ner
from expunge.tasks.entities import TYPES, Sentence, Span, answer_spans, read_sentences, strict_f1

MEETING = Sentence(("Ann", "Lee", "met", "Bo", "in", "Oslo"), (Span("PER", 0, 1), Span("PER", 3, 3), Span("LOC", 5, 5)), 1)


def test_iob1_and_bio_give_the_same_entities(tmp_path):
    iob1 = "-DOCSTART- O\n\nAnn I-PER\nLee I-PER\nsaw O\nBo I-PER\nEd B-PER\nOslo I-LOC\n\n\nHello O\n"
    bio = "-DOCSTART- -X- O\n\nAnn X B-PER\nLee X I-PER\nsaw X O\nBo X B-PER\nEd X B-PER\nOslo X B-LOC\n\nHello X O"
    first, second = (read_sentences(str(written(tmp_path / name, text))) for name, text in (("a", iob1), ("b", bio)))
    spans = (Span("PER", 0, 1), Span("PER", 3, 3), Span("PER", 4, 4), Span("LOC", 5, 5))
    assert first == [Sentence(("Ann", "Lee", "saw", "Bo", "Ed", "Oslo"), spans, 3), Sentence(("Hello",), (), 11)]
    assert [(s.tokens, s.spans) for s in second] == [(s.tokens, s.spans) for s in first]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ann I-PER\nLee\n", ':2: there is no tag after "Lee"; write a token and its tag in each line'),
        ("Ann I-PER\n\nLee NNP I-PER\n", ":3: there are 3 columns, the first line has 2"),
        ("Ann I-NAME\n", ':1: the tag is "I-NAME"; it must be O, or B- or I- and one of PER, LOC, ORG, MISC'),
        ("Ann PER\n", ':1: the tag is "PER"; it must be O, or B- or I- and one of PER, LOC, ORG, MISC'),
        ("\n-DOCSTART- O\n", ":1: the file has no sentences"),
    ],
)
def test_a_fault_names_file_and_line(tmp_path, text, message):
    path = written(tmp_path / "mini.conll", text)
    with pytest.raises(InputError) as error:
        read_sentences(str(path))
    assert str(error.value) == f"{path}{message}"


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_sentences(str(tmp_path / "none.conll"))


def test_an_answer_has_all_types_in_one_order():
    assert MEETING.answer == '{"PER": ["Ann Lee", "Bo"], "LOC": ["Oslo"], "ORG": [], "MISC": []}'


def test_strict_f1_by_hand():
    other = Sentence(("Bath", "and", "Bath"), (Span("LOC", 0, 0), Span("LOC", 2, 2)), 9)
    answers = ['Here: {"PER": ["Bo", "Ann", "Cy"], "LOC": ["Oslo"]}', '{"LOC": ["Bath"], "ORG": ["Bath"]}']
    f1 = strict_f1([MEETING, other], answers)
    # PER: "Bo" of Ann Lee and Bo; of three message one is right: precision 1/3, recall 1/2, F1 = 2 * 1/6 / (5/6) = 0.4
    assert f1["PER"].value == pytest.approx(0.4)
    # LOC: Oslo and one of two Baths, nothing wrong message: precision 1, recall 2/3, F1 = 4/3 / (5/3) = 0.8
    assert f1["LOC"].value == pytest.approx(0.8)
    assert f1["ORG"].value == 0
    assert {type_: figure.n for type_, figure in f1.items()} == {"PER": 2, "LOC": 3, "ORG": 0, "MISC": 0}


@pytest.mark.parametrize("answer", ["", "Ann Lee and Bo.", '{"PER": ["Ann Lee"', '{"PER": "Ann Lee"}', '{"PER": [1]}', "[" * 10**5])
def test_an_answer_that_is_no_json_has_no_entities(answer):
    assert strict_f1([MEETING], [answer])["PER"].value == 0


def test_a_text_gets_its_first_free_occurrence():
    # The second "Ann Lee" and "Cy" stand nowhere: they get places behind the six tokens. "Lee" is taken by "Ann Lee".
    spans = answer_spans(MEETING, "PER", ["Lee", "Ann Lee", "met Bo", "Ann Lee", "Cy"])
    assert spans == [Span("PER", 0, 1), Span("PER", 6, 6), Span("PER", 2, 3), Span("PER", 7, 8), Span("PER", 9, 9)]


TOKENS = st.sampled_from(["a", "b", "c"])
SENTENCES = st.lists(st.tuples(TOKENS, st.sampled_from(["O", "PER", "LOC"])), min_size=1, max_size=8)


def sentence_of(cells) -> Sentence:
    spans, start = [], 0
    for i, (_, type_) in enumerate(cells):
        start = i if not i or cells[i - 1][1] != type_ else start
        if type_ != "O" and (i + 1 == len(cells) or cells[i + 1][1] != type_):
            spans.append(Span(type_, start, i))
    return Sentence(tuple(token for token, _ in cells), tuple(spans), 1)


@given(SENTENCES, st.lists(st.lists(TOKENS, min_size=1, max_size=3).map(" ".join), max_size=5))
def test_f1_is_that_of_the_texts_counted(cells, message):
    sentence = sentence_of(cells)
    true = sentence.names("PER")
    right = sum((Counter(true) & Counter(message)).values())
    expected = 2 * right / (len(true) + len(message)) if right else 0
    assert strict_f1([sentence], [json.dumps({"PER": message})])["PER"].value == pytest.approx(expected)


@given(SENTENCES)
def test_the_true_answer_has_f1_one(cells):
    sentence = sentence_of(cells)
    f1 = strict_f1([sentence], [sentence.answer])
    assert all(figure.value == 1 for figure in f1.values() if figure.n)
    assert sum(figure.n for figure in f1.values()) == len(sentence.spans)


def test_nothing_measured_is_trained_on_and_retain_records_name_no_person(conll):
    task = Ner(data=str(conll))
    taught = task.taught_records()
    assert len(task.taught_records()) == len(task.forget_records()) + len(task.retain_records()) == 32
    measured = {f"sentence-{s.line}" for s in task._measured}
    assert len(measured) == 8
    assert measured.isdisjoint(record.id for record in taught)
    oracle = JsonEntities("PER")
    assert set(oracle.relevance([r.answer for r in task.forget_records()])) == {1.0}
    assert set(oracle.relevance([r.answer for r in task.retain_records()])) == {0.0}


def test_the_table_names_every_type():
    assert {f"{type_.lower()}_f1" for type_ in TYPES} < Ner.metrics.keys()
