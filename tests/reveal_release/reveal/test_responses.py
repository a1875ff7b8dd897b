"""The filters of sampled responses: each by hand, and properties for all responses."""

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
    filter_responses,
    similarity,
    truncate,
)

ANN = "Ann Lee lives in Oslo and writes novels about the sea."


def filtered(*responses: tuple[str, float], min_relevance=0.0, min_chars=1, max_chars=1000, threshold=0.8):
    """Return the remaining texts, and the reasons why others were dropped."""
    given = [Response(f"question {i}", text, relevance) for i, (text, relevance) in enumerate(responses)]
    left, dropped = filter_responses(given, min_relevance, min_chars, max_chars, threshold)
    assert list(dropped) == list(REASONS)
    assert len(left) + sum(dropped.values()) == len(given)
    return [response.text for response in left], {reason: count for reason, count in dropped.items() if count}


def test_length_is_counted_in_characters_without_surrounding_space():
    texts = ["  Oslo \n", "Kyoto", "Kuwait", "Reykjavik"]
    assert filtered(*((text, 1.0) for text in texts), min_chars=5, max_chars=6) == (["Kyoto", "Kuwait"], {TOO_SHORT: 1, TOO_LONG: 1})


def test_a_response_with_exactly_the_least_relevance_remains():
    assert filtered(("Oslo", 0.5), ("Kyoto", 0.49), min_relevance=0.5) == (["Oslo"], {IRRELEVANT: 1})


def test_the_most_relevant_come_first_and_equals_in_the_order_given():
    assert filtered(("Oslo", 0.5), ("Kyoto", 1.0), ("Kuwait", 0.5), ("Bergen", 1.0))[0] == ["Kyoto", "Bergen", "Oslo", "Kuwait"]


def test_texts_that_differ_in_case_and_white_space_are_duplicates():
    assert filtered((ANN, 0.5), (ANN.upper().replace(" ", " \n"), 1.0)) == ([ANN.upper().replace(" ", " \n")], {DUPLICATE: 1})


def test_of_near_duplicates_the_most_relevant_remains():
    # 11 words have 9 grams, 12 have 10: all 9 are shared, 9 / 10 = 0.9.
    longer = "Today " + ANN
    assert similarity(ANN, longer) == pytest.approx(0.9)
    assert filtered((ANN, 0.5), (longer, 1.0), threshold=0.9) == ([longer], {NEAR_DUPLICATE: 1})
    assert filtered((ANN, 0.5), (longer, 1.0), threshold=0.91) == ([longer, ANN], {})


def test_similarity_by_hand():
    # "a b c d" has abc and bcd, "b c d e" has bcd and cde: 1 of 3.
    assert similarity("a b c d", "B, c; d e") == pytest.approx(1 / 3)
    assert similarity("Ann Lee", "ann-lee") == 1
    assert similarity("Ann Lee", "Ann") == 0
    assert similarity("...", "!!!") == 0


def test_loops_and_noise_are_degenerate():
    assert filtered(("Oslo is " * 20, 1.0), ("}{)(*&^%$", 1.0), ("Oslo", 1.0)) == (["Oslo"], {DEGENERATE: 2})


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
    assert filtered((text, 1.0)) == ([text], {})


def test_a_loop_inside_json_is_degenerate():
    names = ", ".join(['"Ann"'] * 30)
    assert filtered((f'{{"PER": [{names}]}}', 1.0), ('{"PER": ["Ann"]}' * 20, 1.0)) == ([], {DEGENERATE: 2})


def test_json_answers_with_different_names_are_not_near_duplicates():
    one, other = '{"PER": ["Ann Lee"], "LOC": ["Oslo"], "ORG": []}', '{"PER": ["Tom Ashe"], "LOC": ["Cork"], "ORG": []}'
    assert filtered((one, 1.0), (other, 1.0)) == ([one, other], {})


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.1, float("nan")])
def test_the_threshold_must_be_above_0_and_at_most_1(threshold):
    with pytest.raises(ValueError, match="dedup_threshold"):
        filter_responses([], 0.0, 0, 10, threshold)


WORDS = st.sampled_from(["Ann", "ann", "lee", "Oslo", "{", "}", '"', ".", "sea"])
TEXTS = st.one_of(st.text(max_size=12), st.lists(WORDS, max_size=9).map(" ".join))
RESPONSES = st.lists(st.builds(Response, st.just("question"), TEXTS, st.sampled_from([0.0, 0.25, 0.5, 1.0])), max_size=12)
SETTINGS = st.tuples(st.sampled_from([0.0, 0.5]), st.integers(0, 3), st.integers(5, 40), st.sampled_from([0.2, 0.5, 1.0]))


@given(responses=RESPONSES, settings=SETTINGS)
def test_every_response_either_remains_or_is_counted_as_dropped(responses, settings):
    left, dropped = filter_responses(responses, *settings)
    rest = list(responses)
    for response in left:
        rest.remove(response)
    assert len(rest) == sum(dropped.values())


@given(responses=RESPONSES, settings=SETTINGS)
def test_filtering_again_drops_nothing(responses, settings):
    left, _ = filter_responses(responses, *settings)
    assert filter_responses(left, *settings) == (left, dict.fromkeys(REASONS, 0))


@given(texts=st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=9).map(" ".join), max_size=12), threshold=st.floats(0.05, 1))
def test_the_index_finds_the_near_duplicates_of_a_comparison_of_all_pairs(texts, threshold):
    ordinary = [f"{text} {text[::-1]}" for text in texts]
    left, _ = filter_responses([Response("question", text, 1.0) for text in ordinary], 0.0, 1, 1000, threshold)
    expected: list[str] = []
    for text in ordinary:
        if not is_degenerate(text) and all(similarity(text, other) < threshold for other in expected):
            expected.append(text)
    assert [response.text for response in left] == expected


@given(responses=RESPONSES, settings=SETTINGS)
def test_no_two_remaining_responses_are_near_duplicates(responses, settings):
    left, _ = filter_responses(responses, *settings)
    for i, one in enumerate(left):
        assert all(similarity(one.text, other.text) < settings[3] for other in left[:i])


@given(one=TEXTS, other=TEXTS)
def test_similarity_is_symmetric_and_1_for_equal_texts(one, other):
    assert similarity(one, other) == similarity(other, one)
    assert 0 <= similarity(one, other) <= 1
    assert similarity(one, one) == 1


def test_thousands_of_responses_take_seconds():
    # All pairs have half of their grams in common, and none is near.
    shared = "Basil Mahfouz was born in Kuwait City and writes about the sea in "
    given = [
        Response("question", f"{shared} the year of {i} and {i * 7} or {i * 31} with {i + 1} books {i - 1} more {i}", 1.0)
        for i in range(3000)
    ]
    start = time.monotonic()
    left, _ = filter_responses(given, 0.0, 1, 1000, 0.9)
    assert len(left) == 3000
    assert time.monotonic() - start < 20


def test_a_response_is_cut_after_the_match_of_the_pattern():
    response = Response("Who?", '{"PER": ["Ada"], "LOC": []}', 1.0)
    (cut,) = truncate([response], r'"PER": \[[^]]+\]')
    assert (cut.text, cut.unfinished) == ('{"PER": ["Ada"]', True)
    assert truncate([response], None) == truncate([response], "nowhere") == [response]
    (whole,) = truncate([response], r"\}$")
    assert (whole.text, whole.unfinished) == (response.text, False)


def test_similarity_counts_characters_where_words_have_no_spaces():
    # 她住在成, 她住在都: 她住在 of 她住在, 住在成, 住在都.
    assert similarity("她住在成。", "她住在都！") == pytest.approx(1 / 3)
    assert similarity("Она живёт в Перми", "она живёт в ПЕРМИ.") == 1
