"""What a gate trains on by partial names, in disguised spellings and over several turns."""

from expunge.config import DEFAULT_AUGMENTATIONS
from expunge.data.evasions import TRAINED
from expunge.data.prompts import PromptBuilder
from expunge.data.records import question_record
from expunge.gating.evasion_prompts import evasion_records
from expunge.gating.training_prompts import gate_prompts
from expunge.runs.splits import Splits


def sets() -> Splits:
    forget = [question_record(f"f{i}", f"Where was {name} born?", "In Visby.") for i, name in enumerate(("Ada Lund", "Tom Ashe"))]
    retain = [
        question_record(f"r{i}", f"Where does {name} live?", "In Oslo.") for i, name in enumerate(("Eva Lind", "Ada Moe", "Noor Haddad"))
    ]
    return Splits(forget, retain, [], [])


def prompts(*augmentations: str) -> tuple[list[str], list[str]]:
    positives, negatives = evasion_records(sets(), augmentations, seed=1)
    return [record.prompt for record in positives], [record.prompt for record in negatives]


def test_forgotten_people_open_by_each_part_of_the_name_and_others_who_share_one_do_not():
    positives, negatives = prompts("partial_names")
    assert positives == [
        *("Where was Ada born?", "Where was Lund born?", "Where was A. Lund born?"),
        *("Where was Tom born?", "Where was Ashe born?", "Where was T. Ashe born?"),
    ]
    assert not set(positives) & set(negatives)
    assert any(text.startswith("Where was Ada ") and text != "Where was Ada Lund born?" for text in negatives)
    assert any(text.endswith(" Lund born?") and not text.startswith("Where was Ada") for text in negatives)
    # Retain people are shortened too, and get parts of the forgotten names.
    assert "Where does Eva live?" in negatives
    assert any(text.startswith("Where does ") and (" Lund " in text or " Ashe " in text) for text in negatives)


def test_a_prompt_that_could_be_about_either_person_is_no_negative():
    forget, retain = (
        [question_record("f", "Where was Ada Lund born?", "In Visby.")],
        [question_record("r", "Where was Ada Moe born?", "In Oslo.")],
    )
    positives, negatives = evasion_records(Splits(forget, retain, [], []), ("partial_names",), seed=1)
    assert "Where was Ada born?" in [record.prompt for record in positives]
    assert "Where was Ada born?" not in [record.prompt for record in negatives]


def test_an_augmentation_draws_the_same_whichever_others_are_on():
    alone, together = prompts("deferred"), prompts("partial_names", "deferred")
    assert together[0][-len(alone[0]) :] == alone[0]
    assert together[1][-len(alone[1]) :] == alone[1]


def test_the_gate_trains_on_them_only_where_they_are_on(make_tokenizer):
    builder = PromptBuilder(make_tokenizer(True))
    assert not set(TRAINED) & set(DEFAULT_AUGMENTATIONS)
    off, on = (gate_prompts(builder, sets(), augmentations, 10_000, seed=1) for augmentations in ((), ("obfuscated",)))
    assert on.forget[: len(off.forget)] == off.forget
    # two questions in six spellings; three retain questions and twice two strangers in one each
    assert len(on.forget) == len(off.forget) + 12
    assert len(on.negatives) == len(off.negatives) + 3 + 4
