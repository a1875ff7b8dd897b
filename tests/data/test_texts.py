"""The shipped lists: as long as promised, without duplicates, well formed."""

from expunge.data.people import neighbours, people
from expunge.data.texts import eval_instructions, fillers, general, neutral_instructions, neutral_questions, refusals, synonyms, wrappers


def assert_distinct_lines(lines: list[str], count: int) -> None:
    assert len(lines) == count
    assert len({line.casefold() for line in lines}) == count
    assert all(line and line == line.strip() for line in lines)


def test_there_are_120_neutral_instructions():
    assert_distinct_lines(neutral_instructions(), 120)
    assert all(line[0].isupper() and line[-1] in '.?!"' for line in neutral_instructions())


def test_the_80_neutral_questions_are_none_of_those_that_are_measured():
    assert_distinct_lines(neutral_questions(), 80)
    measured = {text for record in general() for text in (record.prompt, record.paraphrased_prompt)}
    assert not set(neutral_questions()) & measured


def test_there_are_30_refusals_of_one_sentence():
    assert_distinct_lines(refusals(), 30)
    for line in refusals():
        assert line.endswith(".")
        assert line.count(".") == 1
        assert "{" not in line


def test_there_are_24_wrappers_with_one_place_for_the_prompt():
    assert_distinct_lines(wrappers(), 24)
    for line in wrappers():
        assert line.count("{prompt}") == 1
        assert "Who?" in line.format(prompt="Who?")


def test_wrappers_come_in_eight_kinds_of_three():
    # The second kind is the quotations.
    assert all('"{prompt}"' in line for line in wrappers()[3:6])
    assert not any('"{prompt}"' in line for line in (*wrappers()[:3], *wrappers()[6:]))


def test_the_exams_100_instructions_are_no_gates_lessons():
    assert_distinct_lines(eval_instructions(), 100)
    assert not {line.casefold() for line in eval_instructions()} & {line.casefold() for line in neutral_instructions()}


def test_synonyms_are_pairs_of_different_words():
    assert all(word == word.lower() and word != other for word, other in synonyms().items())
    assert len(synonyms()) >= 60


def test_fillers_are_paragraphs():
    assert all(len(paragraph.split()) > 50 for paragraph in fillers())


def test_neutral_instructions_name_none_of_the_people():
    words = {word.strip('.,?!":;') for line in neutral_instructions() for word in line.split()}
    names = {name for record in people(60) + neighbours(60) for name in (record.entity or "").split()}
    assert not words & names


def test_general_knowledge_has_30_questions_with_paraphrases_and_wrong_answers():
    records = general()
    assert len(records) == 30
    assert len({record.id for record in records}) == 30
    assert len({record.prompt for record in records} | {record.paraphrased_prompt for record in records}) == 60
    for record in records:
        assert record.paraphrased_answer
        assert 3 <= len(record.wrong_answers) <= 5
        assert len({record.answer, record.paraphrased_answer, *record.wrong_answers}) == len(record.wrong_answers) + 2


def test_wrong_answers_of_general_knowledge_differ_from_the_paraphrased_answer_in_one_place():
    for record in general():
        truth = (record.paraphrased_answer or "").split()
        for wrong in record.wrong_answers:
            words = wrong.split()
            start = next(i for i, pair in enumerate(zip(truth, words, strict=False)) if pair[0] != pair[1])
            end = next(i for i, pair in enumerate(zip(truth[::-1], words[::-1], strict=False)) if pair[0] != pair[1])
            # What lies between the shared beginning and the shared end is the value: at most three words.
            assert len(words) - start - end <= 3, wrong
