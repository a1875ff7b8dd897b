"""The gate's exam: what is asked, how it is counted and shown."""

import sys
from dataclasses import replace

import pytest
import torch
from peft import get_peft_model

from expunge.auditing.gate_eval import fill_in_paraphrases, summarise_gate
from expunge.config import EditSection
from expunge.data.prompt_templates import read_prompt_templates
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.edits.grun import GrunConfig
from expunge.gating.eval_prompts import AS_GIVEN, SEED, eval_groups
from expunge.gating.inspect import GateReading, read_gate
from expunge.gating.training_prompts import gate_prompts
from expunge.models.hidden_states import prompt_gate_logits
from expunge.models.loading import load
from expunge.reporting.gate_table import highest_tokens, pivots, shades
from expunge.runs.splits import Splits, draw


def people(names: list[str]) -> list[Record]:
    return [
        Record(
            name,
            (Turn("user", f"Where does {name} live?"),),
            f"{name} lives in Kuwait City.",
            f"What is the home of {name}?",
            None,
            (f"{name} lives in Oslo.", f"{name} lives in Rome."),
        )
        for name in names
    ]


SETS = Splits(
    people(["Basil Mahfouz", "Ana Petrova", "Li Wei"]),
    people([f"Tom Ashe{i}" for i in range(6)]),
    people(["Eva Lind"]),
    people(["Noor Haddad"]),
)


@pytest.fixture
def builder(smollm2_tokenizer) -> PromptBuilder:
    return PromptBuilder(smollm2_tokenizer)


def test_nothing_of_the_exam_was_learnt_but_the_questions_themselves_and_their_capitals(builder):
    wanted = EditSection().gate_augmentations
    learnt = set(gate_prompts(builder, SETS, wanted, 10_000, seed=42).all)
    for group in eval_groups(builder, SETS, {"forget_elsewhere": people(["Kim Roe"])}, read_prompt_templates(), None):
        known = group.set_name == "forget" and group.variant in (AS_GIVEN, "lower_case", "upper_case")
        assert known or not learnt & set(group.prompts.values()), (group.set_name, group.variant)


def test_sets_to_be_forgotten_are_targets_and_wear_every_dress(builder):
    others = {"forget_elsewhere": people(["Kim Roe"]), "facts": people(["Uma Day"])}
    groups = eval_groups(builder, SETS, others, read_prompt_templates(), None)
    variants = {name: {group.variant for group in groups if group.set_name == name} for name in ("forget", "forget_elsewhere", "retain")}
    assert variants["forget"] == variants["forget_elsewhere"] == variants["retain"] == {AS_GIVEN, *read_prompt_templates()}
    assert {group.set_name for group in groups if group.target} == {"forget", "forget_elsewhere"}
    assert {group.variant for group in groups if group.set_name == "facts"} == {AS_GIVEN, "paraphrase"}
    assert len(next(group for group in groups if group.set_name == "other_names").prompts) == 3
    assert all(len(group.prompts) <= 2 for group in eval_groups(builder, SETS, {}, read_prompt_templates(), 2))


def test_paraphrases_that_are_not_given_are_made_for_what_is_asked(builder, monkeypatch):
    given, *lacking = people([f"Tom Ashe{i}" for i in range(6)])
    records, asked = [given, *(replace(record, paraphrased_prompt=None) for record in lacking)], []

    def made(model, builder, records, seed, advance, language):
        asked.extend(record.id for record in records)
        return [replace(records[0], turns=(Turn("user", text),)) for text in ("Where is his home?", "Where lives he?")]

    # The package's own `audit` is a function.
    monkeypatch.setattr(sys.modules[fill_in_paraphrases.__module__], "paraphrase", made)
    found = fill_in_paraphrases(None, builder, records, 4, lambda rows: None)
    drawn = {record.id for record in draw(records, 4, SEED)}
    assert asked == [record.id for record in lacking if record.id in drawn]
    worded = {record.id: record.paraphrased_prompt for record in found}
    assert worded == {given.id: given.paraphrased_prompt, **dict.fromkeys([r.id for r in lacking]), asked[0]: "Where is his home?"}
    assert [record.prompt for record in found] == [record.prompt for record in records]


def row(of: str, variant: str, gate: float, opened: bool) -> dict:
    return {"set": of, "variant": variant, "target": of == "forget", "id": "x", "gate": gate, "open": opened}


ROWS = [
    *(row("forget", "as given", gate, gate > 1) for gate in (3.0, 2.0)),
    *(row("forget", variant, 2.5, True) for variant in ("typos", "role_play")),
    *(row("retain", variant, gate, gate > 1) for variant, gate in (("as given", -1.0), ("typos", 2.2), ("role_play", 0.0))),
    row("facts", "as given", -3.0, False),
]


def test_shares_and_auroc_by_hand():
    found = summarise_gate(ROWS)
    shares = {(group["set"], group["variant"]): (group["value"], group["n"], group["target"]) for group in found["groups"]}
    assert shares["forget", "as given"] == (1.0, 2, True)
    assert shares["retain", "typos"] == (1.0, 1, False)
    assert shares["facts", "as given"] == (0.0, 1, False)
    # Of 4 x 4 pairs only the target at 2.0 lies below an other, at 2.2.
    assert found["auroc"]["value"] == pytest.approx(15 / 16)


def test_sets_that_wear_every_dress_are_lines_of_dresses():
    by_variant, plain = pivots(summarise_gate(ROWS))
    assert (by_variant.corner, by_variant.columns) == ("variant", ["forget", "retain"])
    assert [name for name, _ in by_variant.lines] == ["as given", "typos", "role_play"]
    assert by_variant.lines[1][1][1].startswith("100% (")
    assert (plain.corner, plain.columns, [name for name, _ in plain.lines]) == ("set", ["as given"], ["facts"])


def test_the_token_that_speaks_most_is_the_darkest():
    assert shades([("a", -1.0), ("b", 3.0), ("c", 1.0)], threshold=0.0) == [("a", 0), ("b", 155), ("c", 39)]
    # Far below the threshold nothing is dark.
    assert shades([("a", -1.0), ("b", 0.0)], threshold=9.0)[1][1] <= 2
    assert shades([("a", 0.0)], threshold=0.0) == [("a", 0)]
    assert highest_tokens(GateReading(1.0, 0.0, [("a", -1.0), ("\x1b", 3.0), ("a", -2.0)])) == "'<U+001B>' 3.00, 'a' -1.00"


def test_a_gates_word_in_words():
    assert GateReading(1.0, 0.5, []).description == "opens: the edit acts (logit 1.00, threshold 0.50)"
    assert GateReading(0.0, 0.5, []).description == "stays closed: the edit changes nothing, bit for bit (logit 0.00, threshold 0.50)"
    assert GateReading(0.0, None, []).description == "is open by 50% (logit 0.00)"


@pytest.mark.parametrize(("pool", "blocks"), [("last", None), ("max", [1]), ("top2", [1]), ("top2", [0, 1])])
def test_a_look_is_what_the_gate_says_in_a_forward_pass(make_tiny_model, pool, blocks):
    torch.manual_seed(0)
    model, tokenizer = load(make_tiny_model())
    model = get_peft_model(model, GrunConfig(blocks=[1, 2], gate_pool=pool, gate_blocks=blocks)).eval()
    builder, prompts = PromptBuilder(tokenizer), [(5, 6, 7, 8), (9, 10)]
    said = prompt_gate_logits(model, prompts, "default", 2 if pool == "last" else 1, pad=0)
    for prompt, logit in zip(prompts, said.tolist(), strict=True):
        with torch.no_grad():
            model(input_ids=torch.tensor([prompt]))
        assert logit == pytest.approx(max(value.item() for value in model.base_model.state.logits.values()), abs=1e-5)
        look = read_gate(model, builder, prompt)
        assert look.logit == pytest.approx(logit, abs=1e-5)
        scores = sorted((score for _, score in look.tokens), reverse=True)
        # Tokens show the mean of what they score at each block, which pools each by itself.
        top = {"last": [], "max": scores[:1], "top2": scores[:2]}[pool] if blocks != [0, 1] else []
        assert not top or sum(top) / len(top) == pytest.approx(logit, abs=1e-5)
