"""A gate fitted before the edit is trained: its prompts, its blocks, its threshold, and what it must not be fitted on."""

from functools import partial

import pytest
import torch
from torch import Tensor

from expunge.config import EditSection
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn, read_records
from expunge.data.texts import neutral_instructions, unrelated_texts
from expunge.edits.active import pooled_gate
from expunge.gating.fit import apply_with_gate, fit_gate, fit_on_states, gate_blocks, mean_gate_logits
from expunge.gating.state_store import stored_input
from expunge.gating.train import prompt_logits
from expunge.gating.training_prompts import GatePrompts, gate_prompts
from expunge.models.hidden_states import prompt_gate_logits, prompt_states
from expunge.models.loading import load
from expunge.runs.splits import Splits


def fitted_on(model, tokenizer, sets: Splits, alpha: float, **edit):
    """A fitted gate, and the model with it installed."""
    section = EditSection(name="grun", false_positive_rate=alpha, **edit)
    fitted = fit_gate(model, PromptBuilder(tokenizer), sets, section, 42, lambda rows: None)
    return fitted, apply_with_gate(model, section, "", fitted)


@pytest.mark.parametrize(
    ("gate", "pool"),
    [("linear", "max"), ("linear", "top2"), ("linear", "attention"), pytest.param("mlp", "attention", marks=pytest.mark.long)],
)
def test_a_fitted_gate_is_installed_frozen_with_its_threshold(tiny_model_dir, tiny_data, gate, pool):
    model, tokenizer = load(tiny_model_dir)
    forget, retain = map(read_records, tiny_data)
    sets = Splits(forget, retain[:6], retain[6:8], retain[8:])
    fitted, model = fitted_on(model, tokenizer, sets, 0.5, gate=gate, gate_pool=pool)
    config = model.active_peft_config
    # two held-out retain prompts and forty neutral instructions
    assert (config.threshold, config.calibration_n) == (fitted.threshold.logit, 42)
    # a random model of 32 dimensions may not separate ten prompts at all
    assert config.calibration_alpha == (None if fitted.threshold.lowered else 0.5)
    installed = pooled_gate(model, "default")
    assert list(installed) == list(fitted.gate) == config.gate_blocks
    for block, parts in installed.items():
        assert all(torch.equal(part.weight, fitted.gate[block][name].weight) for name, part in parts.items())
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable
    assert all("grun_rotate" in name or "grun_source" in name for name in trainable)


@pytest.mark.parametrize("normed", [True, False])
def test_an_installed_gate_has_the_logits_of_the_fitted_one(make_tiny_model, tiny_data, normed):
    model, tokenizer = load(make_tiny_model())
    forget, retain = map(read_records, tiny_data)
    builder, edit = PromptBuilder(tokenizer), EditSection(name="grun", blocks=[3], false_positive_rate=0.5, gate_layer_norm=normed)
    fitted = fit_gate(model, builder, Splits(forget, retain[:6], retain[6:8], retain[8:]), edit, 42, lambda rows: None)
    prompts = [builder.record(record).prompt for record in (*forget, *retain)]
    read = prompt_states(model, prompts, list(fitted.gate), builder.pad)

    def logits_with(edit: EditSection) -> Tensor:
        inputs = {block: [stored_input(prompt, edit) for prompt in states] for block, states in read.items()}
        return mean_gate_logits(fitted.gate, fitted.kind.pool, inputs)

    installed = apply_with_gate(model, edit, "", fitted)
    assert installed.active_peft_config.gate_layer_norm is normed
    logits = prompt_gate_logits(installed, prompts, "default", max(fitted.gate), builder.pad)
    torch.testing.assert_close(logits, logits_with(edit), atol=0.02, rtol=0.02)
    assert not torch.allclose(logits, logits_with(edit.model_copy(update={"gate_layer_norm": not normed})), atol=0.05)


def test_the_gate_of_each_block_is_trained_by_itself(make_tiny_model, tiny_data):
    model, tokenizer = load(make_tiny_model())
    forget, retain = map(read_records, tiny_data)
    sets, edit = Splits(forget, retain[:6], retain[6:8], retain[8:]), EditSection(name="grun", blocks=[3], false_positive_rate=0.5)
    assert gate_blocks(model, edit) == [1, 2]
    assert gate_blocks(model, edit, "texts") == [0, 1]
    assert gate_blocks(model, edit.model_copy(update={"gate_blocks": [1, 0]})) == [0, 1]
    assert gate_blocks(model, edit.model_copy(update={"blocks": [1, 3]})) == [1]

    def fit(edit: EditSection):
        return fit_gate(model, PromptBuilder(tokenizer), sets, edit, 42, lambda rows: None)

    together, alone = fit(edit), [fit(edit.model_copy(update={"gate_blocks": [block]})) for block in (1, 2)]
    assert [list(fitted.gate) for fitted in (together, *alone)] == [[1, 2], [1], [2]]
    for fitted in alone:
        for block, parts in fitted.gate.items():
            ours = together.gate[block]["grun_gate"].weight
            torch.testing.assert_close(ours / ours.norm(), parts["grun_gate"].weight / parts["grun_gate"].weight.norm())


def test_blocks_are_weighted_by_their_validation_loss():
    # Both blocks are trained on the same states; at block 5 half of the validation prompts lack the feature
    make = partial(planted, torch.Generator().manual_seed(0))
    shown = [make(60, 0), make(60), make(40), make(20, 0), make(20)]
    hidden = [*shown[:3], [*make(10, 0), *make(10)], shown[4]]
    forget, others, closed, *checks = ([(1,)] * len(states) for states in shown)
    prompts = GatePrompts(forget, 60, others, [], [[ids] for ids in closed], *checks, subject="names")
    states = {block: [state for part in sets for state in part] for block, sets in ((3, shown), (5, hidden))}

    def norms(*blocks: int) -> list[float]:
        gate = fit_on_states(prompts, {block: states[block] for block in blocks}, EditSection(gate_pool="max"), 1).gate
        return [parts["grun_gate"].weight.norm().item() for parts in gate.values()]

    (alone,) = norms(3)
    assert norms(5) == [alone]
    good, bad = norms(3, 5)
    assert good + bad == pytest.approx(2 * alone)
    assert good > 1.9 * alone


def test_every_augmentation_adds_its_prompts(smollm2_tokenizer):
    builder = PromptBuilder(smollm2_tokenizer)
    forget = [
        Record("f", (Turn("user", "Where does Basil Mahfouz live?"),), "In Kuwait City."),
        Record("t", (), "A plain text of some words."),
    ]
    retain = [Record(f"r{i}", (Turn("user", f"What is harbour {i} like?"),), "Deep.") for i in range(6)]

    def prompts(*augmentations: str):
        return gate_prompts(builder, Splits(forget, retain[:4], retain[4:5], retain[5:]), augmentations, 10_000, seed=1)

    def text(ids: tuple[int, ...]) -> str:
        return smollm2_tokenizer.decode(ids)

    bare = prompts()
    assert (len(bare.forget), bare.unaugmented, len(bare.negatives), len(bare.calibration)) == (2, 2, 4, 41)
    assert [len(part) for part in bare.split(bare.all)] == [2, 4, 0, 41 * 5, 2, 5]
    assert all("What is harbour 4 like?" in text(ids) for i, ids in enumerate(bare.calibration[0]) if i != 1)
    assert any("WHERE DOES BASIL MAHFOUZ LIVE?" in text(ids) for ids in prompts("upper_case").forget)
    assert any("where does basil mahfouz live?" in text(ids) for ids in prompts("lower_case").forget)
    # A plain text is written in upper case without a question around it
    upper = next(ids for ids in prompts("upper_case").forget if "A PLAIN TEXT" in text(ids))
    assert "user" not in text(upper)
    assert len(prompts("wrappers").forget) == 2 + 5
    assert len(prompts("neutral_prompts").negatives) == 4 + 80
    assert len(prompts("typos").forget) == 2 + 2 * 2
    # A retain record gets one kind of context, a forget record every kind
    for kind, content, added in (
        ("retain_notes", "Deep. Deep. Deep.", 2),
        ("few_shot", "like? Deep.", 1),
        ("unrelated_text", unrelated_texts()[0][:20], 1 + 3 * 16),
    ):
        beside = prompts(kind)
        assert (len(beside.forget), len(beside.negatives)) == (2 + 1, 4 + added)
        assert any(content in text(ids) for ids in [*beside.forget[2:], *beside.negatives[4:]])
    around = prompts("retain_notes", "few_shot", "unrelated_text")
    assert (len(around.forget), len(around.negatives)) == (2 + 3, 4 + 4 + 3 * 16)
    mined = prompts("mined_negatives")
    assert len(mined.pool) == 3 + 4 * (1 + 2) + 4 * 3
    assert mined.negatives == bare.negatives
    assert not any("Basil Mahfouz" in text(ids) for ids in mined.pool)
    # Leaving out one augmentation does not change the others
    both = prompts("wrappers", "similar_names")
    assert set(prompts("wrappers").forget) | set(prompts("similar_names").negatives) <= {*both.forget, *both.negatives}
    for augmentation, count in (("other_names", 1), ("similar_names", 2)):
        added = set(prompts(augmentation).negatives) - set(bare.negatives)
        assert len(added) == count
        assert not any("Basil Mahfouz" in text(ids) for ids in added)


def test_the_threshold_is_lowered_where_the_gate_would_open_for_nothing(tiny_model_dir, tiny_data):
    # The forget record is also a calibration record: at a rate of 3 % the gate would have to stay closed for it
    model, tokenizer = load(tiny_model_dir)
    same = [Record("same", (), "The capital of France is Paris, a city on the Seine.")]
    retain = read_records(tiny_data[1])
    fitted, model = fitted_on(model, tokenizer, Splits(same, retain, same, []), 0.03)
    threshold = fitted.threshold
    assert (threshold.lowered, threshold.guaranteed, fitted.coverage) == (True, False, 1.0)
    # The gate opens at least for the record that is in both sets
    assert round(threshold.calibration_rate * threshold.n) >= 1
    assert model.peft_config["default"].calibration_alpha is None


def test_held_out_records_are_not_calibrated_on(tiny_model_dir):
    # A retain set that the model generated: all neutral instructions, ten of them for calibration and ten held out
    model, tokenizer = load(tiny_model_dir)
    made = [Record(f"neutral-{i}", (Turn("user", text),), "Yes.") for i, text in enumerate(neutral_instructions())]
    forget = [Record("f", (Turn("user", "Where does Basil Mahfouz live?"),), "Nowhere.")]
    fitted, _ = fitted_on(model, tokenizer, Splits(forget, made[20:], made[:10], made[10:20]), 0.5)
    assert fitted.threshold.n == 10
    assert fitted.coverage == 1.0


def planted(generator: torch.Generator, count: int, *features: int) -> list[Tensor]:
    """Return states of prompts of four tokens; the third token has the features, feature 0 weaker than feature 1."""
    states = torch.randn(count, 4, 16, generator=generator)
    for feature in features:
        states[:, 2, feature] += (6.0, 12.0)[feature]
    return list(states)


def test_a_calibration_prompt_counts_by_its_variant_with_the_highest_logit():
    # One calibration prompt in twenty has the forget feature in its second variant, with a lower logit than most forget prompts
    make = partial(planted, torch.Generator().manual_seed(0))
    forget, others, plain, checks = make(60, 0), make(60), make(20), [make(20, 0), make(20)]
    variants = [*make(19), 0.8 * make(1, 0)[0]]

    def share_open(closed: list[list[Tensor]]) -> tuple[int, float]:
        ids = [[(1,)] * len(prompt) for prompt in closed]
        prompts = GatePrompts([(1,)] * 60, 60, [(1,)] * 60, [], ids, [(1,)] * 20, [(1,)] * 20, "names")
        states = [*forget, *others, *(state for variants_of_one in closed for state in variants_of_one), *checks[0], *checks[1]]
        fitted = fit_on_states(prompts, {3: states}, EditSection(gate_pool="max", false_positive_rate=0.06), 1)
        opened = prompt_logits(fitted.gate[3], "max", variants) >= fitted.threshold.logit
        return fitted.threshold.n, opened.float().mean().item()

    assert share_open([[state] for state in plain]) == (20, pytest.approx(0.05))
    assert share_open([[one, other] for one, other in zip(plain, variants, strict=True)]) == (20, 0.0)


def test_a_gate_is_trained_on_the_hardest_negatives_of_the_pool():
    # Forget prompts have feature 0. A quarter of the pool has it too, with feature 1 that separates them; the rest has neither
    make = partial(planted, torch.Generator().manual_seed(0))
    parts = [make(60, 0), make(60), [*make(90), *make(30, 0, 1)], make(40), make(20, 0), make(20)]
    edit = EditSection(gate_pool="max")

    def logits(pool: bool) -> tuple[Tensor, Tensor]:
        sets = [part if i != 2 or pool else [] for i, part in enumerate(parts)]
        forget, others, taken, closed, *checks = ([(1,)] * len(part) for part in sets)
        prompts = GatePrompts(forget, 60, others, taken, [[ids] for ids in closed], *checks, subject="names")
        fitted = fit_on_states(prompts, {3: [state for part in sets for state in part]}, edit, 1)
        return prompt_logits(fitted.gate[3], "max", parts[4]), prompt_logits(fitted.gate[3], "max", hard)

    hard = make(30, 0, 1)

    def separated(pool: bool) -> float:
        opened, hard_logits = logits(pool)
        return (hard_logits[:, None] < opened).float().mean().item()

    assert separated(pool=False) < 0.7
    assert separated(pool=True) > 0.95
