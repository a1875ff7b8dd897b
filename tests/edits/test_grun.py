"""The intervention of GRUN and ReFT, worked out by hand and compared with plain hooks."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import get_peft_model
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from expunge.data.prompts import Encoded, collate
from expunge.edits.active import gate_logits
from expunge.edits.grun import GrunConfig, GrunLayer, ReftConfig, retract
from expunge.edits.grun.state import Prompts, PromptState
from expunge.models.blocks import decoder_blocks
from expunge.models.forward_context import batch_context
from expunge.models.hidden_states import prompt_states


def states_of(model: nn.Module, block: int, run) -> Tensor:
    """Return the outputs of the block itself while `run` runs."""
    outputs = []
    wrapped = decoder_blocks(model)[1][block]
    inner = wrapped.base_layer if isinstance(wrapped, GrunLayer) else wrapped
    handle = inner.register_forward_hook(lambda _module, _args, output: outputs.append(output))
    run()
    handle.remove()
    return outputs[-1]


def forward(model: nn.Module, batch) -> Tensor:
    with batch_context(batch):
        return model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids).logits


def change_by_hand(layer: GrunLayer, h: Tensor, adapter: str = "default") -> Tensor:
    """Return R^T (W h + b - R h) of one state, (hidden,), computed row by row of R."""
    rotate, source = layer.grun_rotate[adapter], layer.grun_source[adapter]
    change = torch.zeros_like(h)
    for r, w, b in zip(rotate, source.weight, source.bias, strict=True):
        change += r * ((w * h).sum() + b - (r * h).sum())
    return change


@torch.no_grad()
def test_the_last_prompt_token_gets_the_gated_edit_worked_out_by_hand(model, batch):
    base_h = states_of(model, 1, lambda: forward(model, batch))
    edited_model = get_peft_model(model, GrunConfig(blocks=[1])).eval()
    layer = decoder_blocks(edited_model)[1][1]
    outcome = []
    handle = layer.register_forward_hook(lambda _module, _args, output: outcome.append(output))
    got = forward(edited_model, batch)
    handle.remove()

    expected = base_h.clone()
    gate = layer.grun_gate["default"]
    for row in range(2):
        h = base_h[row, 4]  # prompts end at index 4 in both rows
        logit = (gate.weight[0] * h).sum() + gate.bias[0]
        expected[row, 4] = h + change_by_hand(layer, h) / (1 + torch.exp(-logit))
    torch.testing.assert_close(outcome[0], expected, atol=1e-6, rtol=1e-5)
    assert (outcome[0][:, 4] - base_h[:, 4]).abs().amax() > 0.1

    base = edited_model.unload()
    handle = decoder_blocks(base)[1][1].register_forward_hook(lambda _module, _args, _output: expected)
    torch.testing.assert_close(got, forward(base, batch), atol=1e-4, rtol=1e-4)
    handle.remove()


@torch.no_grad()
def test_before_the_last_prompt_token_every_bit_stays(model, batch):
    before = forward(model, batch)
    edited = forward(get_peft_model(model, GrunConfig(blocks=[0, 2])).eval(), batch)
    assert torch.equal(edited[1, :4], before[1, :4])
    assert torch.equal(edited[0, 2:4], before[0, 2:4])
    assert (edited[:, 4] != before[:, 4]).any(-1).all()


@torch.no_grad()
@pytest.mark.parametrize(
    ("positions", "touched"),
    # Indices 0-4 hold the prompt (row 0: two pads first), 5-8 the answer (row 0: two pads last).
    [
        ("last_prompt", [[4], [4]]),
        ("onward", [[4, 5, 6], [4, 5, 6, 7, 8]]),
        ("all_prompt", [[2, 3, 4], [0, 1, 2, 3, 4]]),
        ("every_token", [[2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8]]),
        ("prompt_suffix:4", [[2, 3, 4], [1, 2, 3, 4]]),
        ("prompt_suffix:9", [[2, 3, 4], [0, 1, 2, 3, 4]]),
    ],
)
def test_an_edit_touches_its_positions_and_no_padding(llama, batch, positions, touched):
    model = get_peft_model(llama, ReftConfig(blocks=[1], positions=positions)).eval()
    layer, seen = decoder_blocks(model)[1][1], []
    layer.register_forward_hook(lambda _module, _args, output: seen.append(output))
    changed = (states_of(model, 1, lambda: forward(model, batch)) != seen[0]).any(-1)
    assert [row.nonzero()[:, 0].tolist() for row in changed] == touched


@torch.no_grad()
def test_an_edit_can_act_on_the_prompt_tokens_at_which_its_gate_fires(llama, batch):
    model = get_peft_model(llama, GrunConfig(blocks=[1, 2], gate_pool="max", gate_blocks=[1], positions="fired")).eval()
    layer = decoder_blocks(model)[1][1]
    h = states_of(model, 1, lambda: forward(model, batch))
    scores = layer.grun_gate["default"](layer_norm(h, (32,))).squeeze(-1)
    in_prompt = batch.prompt_mask & (torch.arange(9) < 5)
    threshold = scores[in_prompt].median().item()
    model.peft_config["default"].threshold = threshold
    seen = []
    layer.register_forward_hook(lambda _module, _args, output: seen.append(output))
    changed = (states_of(model, 1, lambda: forward(model, batch)) != seen[0]).any(-1)
    assert torch.equal(changed, in_prompt & (scores >= threshold))
    assert 0 < changed.sum() < in_prompt.sum()


@torch.no_grad()
def test_reft_is_the_edit_without_a_gate(llama, batch):
    model = get_peft_model(llama, ReftConfig(blocks=[1])).eval()
    layer, seen = decoder_blocks(model)[1][1], []
    layer.register_forward_hook(lambda _module, _args, output: seen.append(output))
    h = states_of(model, 1, lambda: forward(model, batch))[0, 4]
    torch.testing.assert_close(seen[0][0, 4], h + change_by_hand(layer, h), atol=1e-6, rtol=1e-5)
    assert gate_logits(model) is None


@torch.no_grad()
def test_two_active_adapters_add_up_and_both_read_the_unmodified_state(llama, batch):
    model = get_peft_model(llama, ReftConfig(blocks=[1]), adapter_name="a").eval()
    model.add_adapter("b", ReftConfig(blocks=[1, 3], rank=2))
    model.base_model.set_adapter(["a", "b"])
    layer, seen = decoder_blocks(model)[1][1], []
    layer.register_forward_hook(lambda _module, _args, output: seen.append(output))
    h = states_of(model, 1, lambda: forward(model, batch))[1, 4]
    expected = h + change_by_hand(layer, h, "a") + change_by_hand(layer, h, "b")
    torch.testing.assert_close(seen[0][1, 4], expected, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_the_pooled_gate_is_the_largest_score_of_a_prompt_token(llama, batch):
    model = get_peft_model(llama, GrunConfig(blocks=[2, 3], gate_pool="max", gate_blocks=[1])).eval()
    h = states_of(model, 1, lambda: forward(model, batch))
    gate = decoder_blocks(model)[1][1].grun_gate["default"]
    by_hand = [max(gate(layer_norm(h[row, t], (32,))).item() for t in tokens) for row, tokens in enumerate([range(2, 5), range(5)])]
    assert gate_logits(model).tolist() == [pytest.approx(by_hand, abs=1e-6)]


@torch.no_grad()
def test_a_gate_over_several_blocks_is_the_mean_of_their_logits(llama, batch):
    model = get_peft_model(llama, GrunConfig(blocks=[2, 3], gate_pool="top2", gate_blocks=[0, 2])).eval()
    # Values that an earlier, shorter forward pass left behind are not counted.
    prompt_states(model, [(7, 8, 9)], [0], pad=0)
    states = {block: states_of(model, block, lambda: forward(model, batch)) for block in (0, 2)}
    gates = {block: decoder_blocks(model)[1][block].grun_gate["default"] for block in states}
    scores = [gates[block](layer_norm(hidden, (32,))).squeeze(-1) for block, hidden in states.items()]
    by_hand = [
        sum(score[row, tokens].topk(2).values.mean().item() for score in scores) / 2 for row, tokens in enumerate([slice(2, 5), slice(5)])
    ]
    assert gate_logits(model).tolist() == [pytest.approx(by_hand, abs=1e-6)]


@torch.no_grad()
@pytest.mark.parametrize("gate", ["linear", "mlp"])
def test_the_pooled_gate_sees_neither_answer_nor_padding(llama, gate):
    model = get_peft_model(llama, GrunConfig(blocks=[2], gate_pool="max", gate_blocks=[1], gate=gate)).eval()

    def logit(*rows: Encoded) -> float:
        forward(model, collate(list(rows), pad=0))
        return gate_logits(model)[0, 0].item()

    prompt = (11, 12, 13)
    assert logit(Encoded(prompt, (21, 22))) == logit(Encoded(prompt, (98, 99)))
    longer = Encoded(tuple(range(40, 50)), (5,) * 7)
    assert logit(Encoded(prompt, (21, 22)), longer) == pytest.approx(logit(Encoded(prompt, (21, 22))), abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("pool", ["last", "max"])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(threshold=st.floats(-3, 3))
def test_below_the_threshold_the_output_is_the_base_models_bit_for_bit(make_llama, pool, threshold):
    batch = collate([Encoded(tuple(range(i, i + 4)), (7, 8)) for i in range(1, 90, 11)], pad=0)
    model = get_peft_model(make_llama(), GrunConfig(blocks=[1, 3], gate_pool=pool)).eval()
    with model.disable_adapter():
        base = forward(model, batch)
    model.peft_config["default"].threshold = threshold
    edited = forward(model, batch)
    closed = (gate_logits(model) < threshold).all(0)
    same = (edited == base).flatten(1).all(1)
    assert same.tolist() == closed.tolist()


@torch.no_grad()
def test_above_the_threshold_the_pooled_gate_is_fully_open(llama, batch):
    model = get_peft_model(llama, GrunConfig(blocks=[1], gate_pool="max", threshold=-1e9)).eval()
    layer, seen = decoder_blocks(model)[1][1], []
    layer.register_forward_hook(lambda _module, _args, output: seen.append(output))
    h = states_of(model, 1, lambda: forward(model, batch))[0, 4]
    torch.testing.assert_close(seen[0][0, 4], h + change_by_hand(layer, h), atol=1e-6, rtol=1e-5)


class TupleBlock(nn.Linear):
    """A decoder block as in older transformers: it returns a tuple with its state first."""

    attention_type = "sliding"

    def forward(self, hidden: Tensor) -> tuple[Tensor, str]:
        return super().forward(hidden), "weights"


def test_a_block_that_returns_a_tuple_has_its_state_edited_and_its_attributes_visible():
    layer = GrunLayer(TupleBlock(32, 32), block=0, hidden_size=32, state=PromptState(Prompts.from_mask(torch.ones(2, 3).bool())))
    layer.update_layer("default", ReftConfig(blocks=[0]))
    hidden = torch.randn(2, 3, 32)
    (edited, extra), (plain, _) = layer(hidden), layer.base_layer(hidden)
    assert extra == "weights"
    assert (edited != plain).any(-1).tolist() == [[False, False, True]] * 2
    assert layer.attention_type == "sliding"
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = layer.absent


def test_gate_logits_are_one_row_a_block_and_train_the_gates(llama, batch):
    model = get_peft_model(llama, GrunConfig(blocks=[0, 1, 3]))
    forward(model, batch)
    logits = gate_logits(model)
    assert logits.shape == (3, 2)
    assert logits.dtype == torch.float32
    logits.sum().backward()
    layers = [decoder_blocks(model)[1][block] for block in (0, 1, 3)]
    assert all(layer.grun_gate["default"].weight.grad.abs().sum() > 0 for layer in layers)
    # Nothing is detached: the gate of block 3 also trains what block 1 changed before it.
    assert layers[1].grun_rotate["default"].grad.abs().sum() > 0


@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 10))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_retraction_makes_rows_orthonormal_and_does_not_change_orthonormal_rows(seed, scale):
    layer = GrunLayer(nn.Linear(32, 32), block=0, hidden_size=32, state=PromptState())
    layer.update_layer("default", ReftConfig(blocks=[0]))
    rotate = layer.grun_rotate["default"]
    torch.testing.assert_close(rotate @ rotate.T, torch.eye(4), atol=1e-6, rtol=0)
    with torch.no_grad():
        rotate.add_(scale * torch.randn(4, 32, generator=torch.Generator().manual_seed(seed)))
    retract(layer)
    once = rotate.detach().clone()
    torch.testing.assert_close(once @ once.T, torch.eye(4), atol=1e-6, rtol=0)
    retract(layer)
    torch.testing.assert_close(rotate.detach(), once, atol=1e-6, rtol=0)


def test_retraction_is_continuous(llama):
    model = get_peft_model(llama, ReftConfig(blocks=[1]))
    rotate = decoder_blocks(model)[1][1].grun_rotate["default"]
    before = rotate.detach().clone()
    with torch.no_grad():
        rotate.add_(1e-4 * torch.randn_like(rotate))
    retract(model)
    assert (rotate - before).abs().max() < 1e-3
