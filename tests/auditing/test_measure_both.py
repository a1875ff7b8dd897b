"""The original and the unlearned model measured together: what each gives alone, and the prompts read once."""

import pytest
import torch
from torch import nn

from expunge.auditing.measure import AuditSets, measure, measure_both
from expunge.auditing.record_metrics import Settings
from expunge.config import EditSection
from expunge.data.prompts import PromptBuilder
from expunge.data.questions import Question
from expunge.data.records import Record, Turn
from expunge.edits.apply import apply_edit
from expunge.edits.grun import GrunLayer
from expunge.models.blocks import decoder_blocks
from expunge.models.loading import load

RECORDS = [
    Record("a", (Turn("user", "Where does Li Wei live?"),), "Li Wei lives in Oslo.", wrong_answers=("In Rome.", "In Lima, they say.")),
    Record("b", (Turn("user", "Who wrote the book that everyone tells one another so much about, and why?"),), "Nobody knows."),
    Record("c", (), "A text without any question, about a city on the sea."),
]
SETS = AuditSets({"forget": RECORDS}, {"choices": [Question("q", "Where is Paris?", ("France", "Peru", "Chad"), 0)]})
SETTINGS = Settings(max_new_tokens=5, batch_size=2, show_text=True)
EDITS = {
    "gates at the edits": EditSection(name="grun", gate_pool="last", blocks=[1, 3]),
    "pooled gate": EditSection(name="grun", gate_pool="max", blocks=[2, 3], gate_blocks=[1]),
    "gate over two blocks": EditSection(name="grun", gate_pool="top2", blocks=[2, 3], gate_blocks=[0, 1]),
    "onward": EditSection(name="grun", gate_pool="max", blocks=[2, 3], gate_blocks=[1], positions="onward"),
    "fired": EditSection(name="grun", gate_pool="max", blocks=[2, 3], gate_blocks=[1], positions="fired"),
    "reft": EditSection(name="reft", blocks=[2]),
    "lora": EditSection(name="lora"),
}


def edited(base: nn.Module, edit: EditSection) -> nn.Module:
    """With an edit that does something, frozen as a loaded one is."""
    torch.manual_seed(1)
    model = apply_edit(base, edit, "").requires_grad_(False).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    return model


def close(rows: list[dict], expected: list[dict]) -> None:
    assert [row.keys() for row in rows] == [row.keys() for row in expected]
    for row, other in zip(rows, expected, strict=True):
        assert row == {
            name: pytest.approx(value, rel=1e-4, abs=1e-5) if isinstance(value, float) else value for name, value in other.items()
        }


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3", "gpt2", "gpt_neox"])
def test_both_give_what_each_gives_alone(make_tiny_model, family, edit):
    base, tokenizer = load(make_tiny_model(family))
    builder = PromptBuilder(tokenizer)
    original = measure(base.eval(), builder, SETS, SETTINGS, lambda done: None)
    model = edited(base, EDITS[edit])
    off, on = measure_both(model, builder, SETS, SETTINGS, lambda done: None)
    close(off, original)
    close(on, measure(model, builder, SETS, SETTINGS, lambda done: None))
    assert [row["nll"] for row in on if "nll" in row] != [row["nll"] for row in off if "nll" in row]


def test_behind_a_closed_gate_both_are_the_same_to_the_last_bit(make_tiny_model):
    base, tokenizer = load(make_tiny_model())
    model = edited(base, EDITS["pooled gate"])
    for layer in model.modules():
        if isinstance(layer, GrunLayer):
            layer.configs["default"].threshold = 1e9
    off, on = measure_both(model, PromptBuilder(tokenizer), SETS, SETTINGS, lambda done: None)
    assert [{name: value for name, value in row.items() if name != "gate"} for row in on] == off


@pytest.mark.parametrize(("edit", "times"), [("pooled gate", 1), ("onward", 1), ("fired", 2)])
def test_a_prompt_is_read_as_often_as_the_edit_makes_necessary(make_tiny_model, edit, times):
    base, tokenizer = load(make_tiny_model())
    builder = PromptBuilder(tokenizer)
    prompt = len(builder.record(RECORDS[0]).prompt)
    model, lengths = edited(base, EDITS[edit]), []
    decoder_blocks(model)[1][0].register_forward_hook(lambda _module, args, _output: lengths.append(args[0].shape[1]))
    done: list[int] = []
    measure_both(model, builder, AuditSets({"forget": RECORDS[:1]}), SETTINGS, done.append)
    assert lengths.count(prompt) == times
    assert sum(done) == 4
