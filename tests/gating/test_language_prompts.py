"""The prompts of a gate for records in other languages."""

from dataclasses import replace

import pytest

from expunge.data.languages import language
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, question_record
from expunge.data.set_names import INSTRUCTIONS, OTHER_NAMES
from expunge.gating.eval_prompts import eval_groups
from expunge.gating.paraphrase import parse_question
from expunge.gating.training_prompts import GatePrompts, gate_prompts
from expunge.objectives import IDK
from expunge.runs.splits import Splits
from expunge.training.inputs import encode_records


@pytest.fixture(scope="module")
def builder(make_tokenizer) -> PromptBuilder:
    return PromptBuilder(make_tokenizer(True))


def sets() -> Splits:
    forget = [question_record(f"f{i}", f"{name}住在哪里？", "苏州。") for i, name in enumerate(["林晓雨", "许梦洁"])]
    retain = [question_record(f"r{i}", f"{name}住在哪里？", "南宁。") for i, name in enumerate(["焦大勇", "秦燕", "严平", "常娥", "段哲"])]
    return Splits(forget, retain[:3], retain[3:4], retain[4:], language("zh"))


def texts(builder: PromptBuilder, prompts: GatePrompts) -> list[str]:
    return [builder.tokenizer.decode(ids) for ids in prompts.all]


def test_the_variants_are_in_the_language_of_the_records_and_in_english(builder):
    made = texts(builder, gate_prompts(builder, sets(), ("wrappers", "few_shot", "unrelated_text"), 10_000, seed=1))
    for part in ("老师问", "Dear assistant", "昨天我问", "Yesterday I asked", "铁路后面的菜园", "The allotment behind"):
        assert any(part in text for text in made), part


def test_a_script_without_case_gets_no_second_copy_of_a_prompt(builder):
    bare, recased = (gate_prompts(builder, sets(), augmentations, 10_000, seed=1) for augmentations in ((), ("lower_case", "upper_case")))
    assert recased.forget == bare.forget
    assert recased.negatives == bare.negatives


def test_half_of_the_neutral_calibration_is_in_the_language(builder):
    calibration = gate_prompts(builder, sets(), (), 10_000, seed=1).calibration
    own = [variants for variants in calibration if "写一张便条" in builder.tokenizer.decode(variants[0])]
    assert len(calibration) == 1 + 40
    assert len(own) == 1


def test_an_evaluation_uses_instructions_and_strangers_of_the_language(builder):
    groups = {group.set_name: group for group in eval_groups(builder, sets(), {}, {}, None)}
    assert len(groups[INSTRUCTIONS].prompts) == 20
    assert "皮鞋" in builder.tokenizer.decode(next(iter(groups[INSTRUCTIONS].prompts.values())))
    strangers = [builder.tokenizer.decode(ids) for ids in groups[OTHER_NAMES].prompts.values()]
    assert len(strangers) == 2
    assert all("住在哪里" in text for text in strangers)
    assert not any(name in text for text in strangers for name in ("林晓雨", "许梦洁"))


def test_refusals_are_in_the_language(builder):
    forget = sets().forget
    encoded = encode_records(builder, forget, [], IDK(), language=language("zh"))
    assert encoded.alternatives == [[builder.answer(text) for text in language("zh").refusals]] * 2


def test_a_paraphrase_may_end_with_the_marks_of_other_scripts():
    assert parse_question("她住在哪里？", "她的家在哪里？\n") == "她的家在哪里？"
    assert parse_question("कहाँ?", "वह कहाँ रहती है।") == "वह कहाँ रहती है।"
    assert parse_question("她住在哪里？", "她的家") is None


def test_an_english_split_is_as_before(builder):
    splits = replace(sets(), forget=[Record("t", (), "A plain text of some words.")])
    assert replace(splits, language=language("en")) == Splits(splits.forget, splits.retain, splits.calibration, splits.held_out)
