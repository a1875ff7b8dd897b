"""Questions about documents that a model writes: which of them it can answer without the text."""

import pytest

from expunge.data.languages import ENGLISH
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.models.loading import load
from expunge.training.document_questions import choose_known, first_question, generate_document_questions, knows

QUESTION = "Where did Agnes Holt breed sheep?"
ANSWER = "Agnes Holt bred sheep on the farm of her sister in Visby."


def passage(name: str, text: str) -> Record:
    return Record(name, (), text, prompt_chars=4, document="book")


@pytest.mark.parametrize(
    ("without", "known"),
    [
        (ANSWER, True),
        ("She bred sheep on the farm of her sister.", True),
        # Half of the answer's words, but only "bred" of the six that are not in the question: bred, the, farm, her, sister, Visby.
        ("Agnes Holt bred sheep on an island of Norway in 1931.", False),
        ("I do not know.", False),
        ("", False),
    ],
)
def test_a_model_knows_what_it_says_beyond_the_words_of_the_question(without, known):
    assert knows(QUESTION, ANSWER, without) is known


def test_a_refusal_is_no_knowledge():
    refusal = ENGLISH.refusals[0]
    assert not knows(QUESTION, refusal, refusal)


@pytest.mark.parametrize(
    ("written", "question"),
    [
        (" Where did Bo sell fish? Another one?\nText: more", "Where did Bo sell fish?"),
        ("鱼在哪里卖？\n", "鱼在哪里卖？"),
        (" It has no question mark.\nWho?", ""),
        ("?", ""),
        ("", ""),
    ],
)
def test_the_first_whole_question_of_a_line_is_taken(written, question):
    assert first_question(written) == question


def test_questions_that_need_the_text_are_left_out_and_each_comes_once():
    passages = [passage(name, name) for name in ("one", "two", "three", "four")]
    questions = [QUESTION, "Where did Bo sell fish?", "", QUESTION]
    grounded = [f"{ANSWER} She also", "Bo sold fish in Oslo.", "Nobody waved.", ANSWER]
    alone = [ANSWER, "Bo sold books in Paris.", "Nobody waved.", ANSWER]
    (record,) = choose_known(passages, questions, grounded, alone)
    assert (record.id, record.prompt, record.answer, record.document) == ("one/question", QUESTION, ANSWER, "book")


@pytest.mark.parametrize("tokens", [2048, 60])
def test_three_texts_are_written_for_each_passage_that_leaves_room(make_tiny_model, tokens):
    model, tokenizer = load(make_tiny_model())
    model.config.max_position_embeddings = tokens
    steps = []
    passages = [passage("one", "Bo sold fish in Oslo."), passage("two", "Nobody waved.")]
    made = generate_document_questions(model, PromptBuilder(tokenizer), passages, 42, steps.append)
    assert sum(steps) == 3 * len(passages)
    # A random model writes letters at random.
    assert (made.known, made.written) == ([], 0)
