"""Which responses are kept: every filter by hand, and what holds of any responses."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.metrics.text import is_degenerate
from expunge.reveal_release.reveal.responses import (
    DEGENERATE,
    DUPLICATE,
    IRRELEVANT,
    NEAR_DUPLICATE,
    REASONS,
    TOO_LONG,
    TOO_SHORT,
    Response,
    kept_responses,
    similarity,
    up_to,
)

ANN = "Ann Lee lives in Oslo and writes novels about the sea."


def kept(*responses: tuple[str, float], floor=0.0, shortest=1, longest=1000, near=0.8):
    """The texts kept, and the reasons that dropped any."""
    given = [Response(f"question {i}", text, relevance) for i, (text, relevance) in enumerate(responses)]
    left, dropped = kept_responses(given, floor, shortest, longest, near)
    assert list(dropped) == list(REASONS)
    assert len(left) + sum(dropped.values()) == len(given)
    return [response.text for response in left], {reason: count for reason, count in dropped.items() if count}


def test_length_is_counted_in_characters_without_outer_space():
    texts = ["  Oslo \n", "Kyoto", "Kuwait", "Reykjavik"]
    assert kept(*((text, 1.0) for text in texts), shortest=5, longest=6) == (["Kyoto", "Kuwait"], {TOO_SHORT: 1, TOO_LONG: 1})


def test_relevance_at_the_floor_is_kept():
    assert kept(("Oslo", 0.5), ("Kyoto", 0.49), floor=0.5) == (["Oslo"], {IRRELEVANT: 1})


def test_the_most_relevant_come_first_and_equals_in_the_order_given():
    assert kept(("Oslo", 0.5), ("Kyoto", 1.0), ("Kuwait", 0.5), ("Bergen", 1.0))[0] == ["Kyoto", "Bergen", "Oslo", "Kuwait"]


def test_case_and_white_space_make_no_other_text_and_the_most_relevant_stays():
    assert kept((ANN, 0.5), (ANN.upper().replace(" ", " \n"), 1.0)) == ([ANN.upper().replace(" ", " \n")], {DUPLICATE: 1})


def test_near_duplicates_leave_the_most_relevant():
    # 11 words have 9 grams, 12 have 10: all 9 are shared, 9 / 10 = 0.9.
    longer = "Today " + ANN
    assert similarity(ANN, longer) == pytest.approx(0.9)
    assert kept((ANN, 0.5), (longer, 1.0), near=0.9) == ([longer], {NEAR_DUPLICATE: 1})
    assert kept((ANN, 0.5), (longer, 1.0), near=0.91) == ([longer, ANN], {})


def test_similarity_by_hand():
    # "a b c d" has abc and bcd, "b c d e" has bcd and cde: 1 of 3.
    assert similarity("a b c d", "B, c; d e") == pytest.approx(1 / 3)
    assert similarity("Ann Lee", "ann-lee") == 1
    assert similarity("Ann Lee", "Ann") == 0
    assert similarity("...", "!!!") == 0


def test_loops_and_noise_are_degenerate():
    assert kept(("Oslo is " * 20, 1.0), ("}{)(*&^%$", 1.0), ("Oslo", 1.0)) == (["Oslo"], {DEGENERATE: 2})


@pytest.mark.parametrize(
    "text",
    [
        # Of these, all but the last two have 0.5 or more by `degeneracy` as they stand: brackets and quotes are symbols.
        '{"PER": []}',
        '{"PER": [], "LOC": [], "ORG": [], "MISC": []}',
        '[{"type":"PER","text":"Ann Lee"},{"type":"LOC","text":"Oslo"},{"type":"ORG","text":"Bank of Norway"},{"type":"PER","text":"Tom"}]',
        '```json\n{"PER": ["Bo"]}\n```',
        '{"PER": ["Ann Lee"], "LOC": ["Oslo"], "ORG": [], "MISC": []}',
        "def add(a, b):\n    return [a + b, a - b, a * b]",
    ],
)
def test_short_answers_in_json_and_code_are_not_degenerate(text):
    assert kept((text, 1.0)) == ([text], {})


def test_a_loop_inside_json_is_degenerate():
    names = ", ".join(['"Ann"'] * 30)
    assert kept((f'{{"PER": [{names}]}}', 1.0), ('{"PER": ["Ann"]}' * 20, 1.0)) == ([], {DEGENERATE: 2})


def test_json_answers_that_name_others_are_no_near_duplicates():
    one, other = '{"PER": ["Ann Lee"], "LOC": ["Oslo"], "ORG": []}', '{"PER": ["Tom Ashe"], "LOC": ["Cork"], "ORG": []}'
    assert kept((one, 1.0), (other, 1.0)) == ([one, other], {})


@pytest.mark.parametrize("near", [0.0, -1.0, 1.1, float("nan")])
def test_near_lies_above_0_and_up_to_1(near):
    with pytest.raises(ValueError, match="dedup_threshold"):
        kept_responses([], 0.0, 0, 10, near)


WORDS = st.sampled_from(["Ann", "ann", "lee", "Oslo", "{", "}", '"', ".", "sea"])
TEXTS = st.one_of(st.text(max_size=12), st.lists(WORDS, max_size=9).map(" ".join))
RESPONSES = st.lists(st.builds(Response, st.just("question"), TEXTS, st.sampled_from([0.0, 0.25, 0.5, 1.0])), max_size=12)
SETTINGS = st.tuples(st.sampled_from([0.0, 0.5]), st.integers(0, 3), st.integers(5, 40), st.sampled_from([0.2, 0.5, 1.0]))


@given(responses=RESPONSES, settings=SETTINGS)
def test_what_is_kept_was_given_and_what_was_not_is_counted(responses, settings):
    left, dropped = kept_responses(responses, *settings)
    rest = list(responses)
    for response in left:
        rest.remove(response)
    assert len(rest) == sum(dropped.values())


@given(responses=RESPONSES, settings=SETTINGS)
def test_what_is_kept_is_kept_again(responses, settings):
    left, _ = kept_responses(responses, *settings)
    assert kept_responses(left, *settings) == (left, dict.fromkeys(REASONS, 0))


@given(texts=st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=9).map(" ".join), max_size=12), near=st.floats(0.05, 1))
def test_near_duplicates_are_those_that_comparing_every_pair_finds(texts, near):
    ordinary = [f"{text} {text[::-1]}" for text in texts]
    left, _ = kept_responses([Response("question", text, 1.0) for text in ordinary], 0.0, 1, 1000, near)
    expected: list[str] = []
    for text in ordinary:
        if not is_degenerate(text) and all(similarity(text, other) < near for other in expected):
            expected.append(text)
    assert [response.text for response in left] == expected


@given(responses=RESPONSES, settings=SETTINGS)
def test_no_two_that_are_kept_are_near(responses, settings):
    left, _ = kept_responses(responses, *settings)
    for i, one in enumerate(left):
        assert all(similarity(one.text, other.text) < settings[3] for other in left[:i])


@given(one=TEXTS, other=TEXTS)
def test_similarity_is_symmetric_and_1_of_a_text_with_itself(one, other):
    assert similarity(one, other) == similarity(other, one)
    assert 0 <= similarity(one, other) <= 1
    assert similarity(one, one) == 1


def test_thousands_take_seconds():
    # All pairs have half of their grams in common, and none is near.
    shared = "Basil Mahfouz was born in Kuwait City and writes about the sea in "
    given = [
        Response("question", f"{shared} the year of {i} and {i * 7} or {i * 31} with {i + 1} books {i - 1} more {i}", 1.0)
        for i in range(3000)
    ]
    start = time.monotonic()
    left, _ = kept_responses(given, 0.0, 1, 1000, 0.9)
    assert len(left) == 3000
    assert time.monotonic() - start < 20


def test_a_response_is_kept_up_to_what_the_pattern_finds():
    response = Response("Who?", '{"PER": ["Ada"], "LOC": []}', 1.0)
    cut = up_to(response, r'"PER": \[[^]]+\]')
    assert (cut.text, cut.unfinished) == ('{"PER": ["Ada"]', True)
    assert up_to(response, None) == up_to(response, "nowhere") == response
    whole = up_to(response, r"\}$")
    assert (whole.text, whole.unfinished) == (response.text, False)
