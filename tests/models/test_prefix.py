"""A forward pass from a prefix gives the scores and gradients of the whole forward pass, and does not change later generation."""

import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma3ForCausalLM,
    Gemma3nForCausalLM,
    Gemma3nTextConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from expunge.config import EditSection
from expunge.data.prompts import Encoded, collate
from expunge.edits.active import edits_off, entry_block, gate_logits, pooled_gate_logits
from expunge.edits.apply import apply_edit
from expunge.edits.grun import GrunConfig, ReftConfig
from expunge.models.loading import load
from expunge.models.prefix import PrefixUnsupported, compute_prefix, compute_prefix_states
from expunge.models.prefix_store import PrefixStore, open_prefix_store
from expunge.models.scoring import score

SIZES = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "initializer_range": 0.3}
MODERN = {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**MODERN)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**MODERN)),
    # The window is shorter than the prompts, and blocks with and without one alternate.
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**MODERN, sliding_window=4, layer_types=["sliding_attention", "full_attention"] * 2)
    ),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**MODERN, sliding_window=4)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**SIZES, n_inner=48)),
}
EDITS = {
    "linear gate": GrunConfig(blocks=[1, 3], gate_pool="last"),
    "mlp gate": GrunConfig(blocks=[1, 2], gate_pool="last", gate="mlp"),
    "reft": ReftConfig(blocks=[1, 2]),
    "last block only": ReftConfig(blocks=[3]),
    "pooled gate below": GrunConfig(blocks=[2, 3], gate_pool="max", gate_blocks=[1]),
    "pooled gate at the edit": GrunConfig(blocks=[1, 2], gate_pool="max", gate_blocks=[1]),
    "gate over two blocks": GrunConfig(blocks=[1, 2], gate_pool="top2", gate_blocks=[0, 1]),
    "calibrated gate": GrunConfig(blocks=[1, 2], gate_pool="max", gate_blocks=[0], threshold=0.0),
}
ROWS = [
    Encoded((11, 12, 13, 14, 15, 16, 17), (21, 22)),
    Encoded((31, 32, 33), (41, 42, 43, 44)),
    Encoded((51,), (52, 53, 54)),
]


def edited(family="llama", edit="linear gate"):
    """A tiny model, the same at every call; a pooled gate is frozen, as it is after gate training."""
    torch.manual_seed(0)
    model = get_peft_model(FAMILIES[family](), EDITS[edit]).eval()
    for name, parameter in model.named_parameters():
        if "grun_gate" in name:
            parameter.requires_grad_(parameter.requires_grad and EDITS[edit].gate_pool == "last")
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def store_of(model, limit=math.inf):
    return PrefixStore(model, entry_block(model), lambda: pooled_gate_logits(model), limit)


def batch_of(*rows):
    return collate(list(rows), pad=0)


def trained(model, batch, prefix):
    """Return loss, scores and gradients of a step that reads answers, hidden states and gates, as NPO, RMU and the gate loss do."""
    model.zero_grad()
    scores = score(model, batch, logits=True, hidden=[entry_block(model), 3], prefix=prefix)
    gates = gate_logits(model)
    loss = scores.nll.mean() + sum(states.square().mean() for states in scores.hidden.values())
    if gates is not None:
        loss = loss + gates.square().mean()
    loss.backward()
    return loss.detach(), scores, {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_from_a_prefix_equals_a_step_of_the_whole_forward_pass(family, edit):
    model, batch = edited(family, edit), batch_of(*ROWS)
    prefix = store_of(model).prefix(batch)
    whole, scores, gradients = trained(model, batch, None)
    loss, from_prefix, prefix_gradients = trained(model, batch, prefix)
    torch.testing.assert_close(loss, whole, rtol=1e-6, atol=0)
    torch.testing.assert_close(from_prefix.nll, scores.nll, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(from_prefix.logits, scores.logits, rtol=1e-4, atol=1e-5)
    assert from_prefix.tokens.tolist() == scores.tokens.tolist()
    assert all(gradient.norm() > 0 for gradient in gradients.values())
    for name, gradient in gradients.items():
        assert (prefix_gradients[name] - gradient).norm() <= 1e-5 * gradient.norm(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_starts_from_the_same_prefix(family):
    model, batch = edited(family), batch_of(*ROWS)
    prefix = store_of(model).prefix(batch)
    with torch.no_grad(), edits_off(model):
        torch.testing.assert_close(score(model, batch, prefix=prefix).nll, score(model, batch).nll, rtol=1e-6, atol=1e-6)


def test_the_edit_changes_the_scores_from_a_prefix():
    model, batch = edited(edit="reft"), batch_of(*ROWS)
    prefix = store_of(model).prefix(batch)
    with torch.no_grad(), edits_off(model):
        off = score(model, batch, prefix=prefix).nll
    assert (score(model, batch, prefix=prefix).nll - off).abs().min() > 1e-3


def test_a_stored_row_serves_any_batch_without_another_forward():
    model = edited()
    store = store_of(model)
    store.prefix(batch_of(*ROWS))
    read = []
    handle = model.get_submodule("base_model.model.model.layers.0").register_forward_pre_hook(lambda *_: read.append(1))
    batch = batch_of(ROWS[2], ROWS[0])
    prefix = store.prefix(batch)
    assert read == []
    handle.remove()
    torch.testing.assert_close(score(model, batch, prefix=prefix).nll, score(model, batch).nll, rtol=1e-6, atol=1e-6)


def test_another_answer_to_a_stored_prompt_runs_no_block_above_the_first_edited_one():
    model = edited()
    store = store_of(model)
    store.prefix(batch_of(*ROWS))
    size, above = store.size, []
    handle = model.get_submodule("base_model.model.model.layers.2").register_forward_pre_hook(lambda *_: above.append(1))
    batch = batch_of(Encoded(ROWS[0].prompt, (7, 8, 9)), ROWS[1])
    prefix = store.prefix(batch)
    handle.remove()
    assert above == []
    # Three answer tokens of 32 fp32 states: 3 x 32 x 4 bytes.
    assert store.size - size == 384
    torch.testing.assert_close(score(model, batch, prefix=prefix).nll, score(model, batch).nll, rtol=1e-6, atol=1e-6)


def test_the_store_counts_the_bytes_of_a_row():
    # Llama, first edit at block 1 of 4, prompt of 7 and answer of 2 tokens, fp32: state 32, answer 2 x 32,
    # keys and values 2 x (2 blocks x 2 heads x 6 tokens x 8) = 384: 480 numbers, 1920 bytes.
    store = store_of(edited())
    store.prefix(batch_of(ROWS[0]))
    assert store.size == 1920


def test_rows_beyond_the_limit_are_computed_every_time_with_one_warning(caplog):
    model, batch = edited(), batch_of(*ROWS)
    store = store_of(model, limit=2000)
    for _ in range(3):
        prefix = store.prefix(batch)
        torch.testing.assert_close(score(model, batch, prefix=prefix).nll, score(model, batch).nll, rtol=1e-6, atol=1e-6)
        assert store.size <= 2000
    assert [record.message for record in caplog.records] == [
        "training.prefix_cache_gib: the limit of 1.86e-06 GiB is reached; further prefixes are computed in every epoch"
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_later_generation_does_not_change(family):
    model, batch = edited(family), batch_of(*ROWS)
    prompts = batch_of(*(Encoded(row.prompt) for row in ROWS))
    inputs = {"input_ids": prompts.input_ids, "attention_mask": prompts.attention_mask, "max_new_tokens": 5, "do_sample": False}
    before = model.generate(**inputs, pad_token_id=0)
    store = store_of(model)
    score(model, batch, prefix=store.prefix(batch))
    assert torch.equal(model.generate(**inputs, pad_token_id=0), before)


def test_the_model_is_restored_after_an_error():
    model, batch = edited(), batch_of(*ROWS)
    names = [name for name, _ in model.named_modules()]
    prefix = store_of(model).prefix(batch)

    def fail(*_):
        raise KeyboardInterrupt

    handle = model.get_submodule("base_model.model.model.norm").register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        score(model, batch, prefix=prefix)
    with pytest.raises(KeyboardInterrupt):
        store_of(model).prefix(batch)
    handle.remove()
    assert [name for name, _ in model.named_modules()] == names
    torch.testing.assert_close(score(model, batch, prefix=prefix).nll, score(model, batch).nll, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_store_opens_for_a_supported_family(family):
    model = edited(family)
    store = open_prefix_store(model, entry_block(model), lambda: pooled_gate_logits(model), 0.0, batch_of(*ROWS))
    assert store.size == 0


def test_unsupported_families_are_refused():
    bloom = BloomForCausalLM(BloomConfig(vocab_size=60, hidden_size=32, n_layer=4, n_head=4))
    shared = Gemma3nForCausalLM(
        Gemma3nTextConfig(**MODERN, num_kv_shared_layers=2, vocab_size_per_layer_input=60, hidden_size_per_layer_input=8, laurel_rank=4)
    )
    for base, reason in ((bloom, "more than hidden states"), (shared, "share their cache, or cache more than keys and values")):
        model = get_peft_model(base, ReftConfig(blocks=[1])).eval()
        with pytest.raises(PrefixUnsupported, match=reason):
            open_prefix_store(model, entry_block(model), lambda: {}, math.inf, batch_of(*ROWS))


def test_a_prefix_that_changes_the_logits_is_refused():
    model = edited(edit="pooled gate at the edit")
    # Without its logit for the whole prompt, the gate would read the last token alone.
    with pytest.raises(PrefixUnsupported, match="from a prefix at block 1, this model's logits differ by"):
        open_prefix_store(model, 1, lambda: {}, math.inf, batch_of(*ROWS))


def test_edits_without_a_frozen_prefix_are_refused():
    def refusal(config):
        with pytest.raises(PrefixUnsupported) as refused:
            entry_block(get_peft_model(FAMILIES["llama"](), config))
        return str(refused.value)

    assert refusal(LoraConfig(target_modules=["q_proj"])) == "the weights of the base model are trained"
    assert refusal(ReftConfig(blocks=[1], positions="prompt_suffix:2")) == "an edit acts on prompt tokens before the last one"
    assert "pooled gate is trained along" in refusal(GrunConfig(blocks=[1], gate_pool="max"))


def two_requests(second):
    """A frozen edit at block 0 and a second one added later, both on."""
    torch.manual_seed(0)
    model = get_peft_model(FAMILIES["llama"](), GrunConfig(blocks=[0], gate_pool="last"), "first")
    model.add_adapter("second", second)
    model.base_model.set_adapter(["first", "second"])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".second" in name)
    return model.eval()


def test_a_second_request_starts_at_the_first_requests_edit():
    model, batch = two_requests(GrunConfig(blocks=[2], gate_pool="last")), batch_of(*ROWS)
    assert entry_block(model) == 0
    prefix = store_of(model).prefix(batch)
    torch.testing.assert_close(score(model, batch, prefix=prefix).nll, score(model, batch).nll, rtol=1e-6, atol=1e-6)


def test_a_pooled_gate_above_another_requests_edit_is_refused():
    model = two_requests(GrunConfig(blocks=[2], gate_pool="max", gate_blocks=[1]))
    with pytest.raises(PrefixUnsupported, match="the pooled gate at block 1 reads what an edit at block 0 changes"):
        entry_block(model)


def test_a_prefix_works_inside_a_distributed_wrapper():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        model, batch = edited(), batch_of(*ROWS)
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
        prefix = store_of(model).prefix(batch)
        whole, _, gradients = trained(model, batch, None)
        scores = score(wrapped, batch, logits=True, hidden=[1, 3], prefix=prefix)
        loss = scores.nll.mean() + sum(states.square().mean() for states in scores.hidden.values()) + gate_logits(model).square().mean()
        torch.testing.assert_close(loss.detach(), whole, rtol=1e-6, atol=0)
        model.zero_grad()
        loss.backward()
        for name, gradient in gradients.items():
            assert (model.get_parameter(name).grad - gradient).norm() <= 1e-5 * gradient.norm(), name
        # Delete the wrapper before its process group: if it holds the group last, it may wait for the group's thread for ever.
        del wrapped, scores, loss
    finally:
        torch.distributed.destroy_process_group()


def test_the_head_does_not_run_for_a_prefix(make_tiny_model, monkeypatch):
    model, tokenizer = load(make_tiny_model())
    edited = apply_edit(model, EditSection(name="reft", blocks=(1,)), "")
    monkeypatch.setattr(model.lm_head, "forward", None)
    batch = collate([Encoded((5, 6, 7), (8, 9))], tokenizer.pad_token_id)
    assert compute_prefix(edited, batch, 1, dict).states.shape == (1, 3, 32)
    assert compute_prefix_states(edited, batch, 1).shape == (1, 3, 32)
