"""Where the edit takes the prompt to end: in generation, in scoring, in training with checkpoints or in bf16."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import get_peft_model

from expunge.data.prompts import Encoded, collate
from expunge.edits.active import gate_logits
from expunge.edits.grun import GrunConfig, ReftConfig
from expunge.edits.grun.state import Prompts
from expunge.errors import ExpungeError
from expunge.models.blocks import decoder_blocks
from expunge.models.forward_context import batch_context

PROMPTS = [(11, 12, 13), (31, 32, 33, 34, 35), (51,)]
POSITIONS = ["last_prompt", "onward", "fired", "all_prompt", "every_token", "prompt_suffix:2"]


def generate(model, prompts, **options):
    batch = collate([Encoded(prompt) for prompt in prompts], pad=0)
    return model.generate(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=6, do_sample=False, pad_token_id=0, **options
    )


@pytest.fixture(params=POSITIONS)
def edited(request, model):
    return get_peft_model(model, GrunConfig(blocks=[1, 2], positions=request.param, gate_pool="max")).eval()


def test_a_padded_batch_generates_the_same_as_each_prompt_alone(edited):
    together = generate(edited, PROMPTS)[:, 5:]
    for row, prompt in zip(together, PROMPTS, strict=True):
        assert row.tolist() == generate(edited, [prompt])[0, len(prompt) :].tolist()


@torch.no_grad()
def test_scoring_and_generation_run_the_same_edit(edited):
    out = generate(edited, PROMPTS, output_logits=True, return_dict_in_generate=True)
    answers = out.sequences[:, 5:]
    batch = collate([Encoded(prompt, tuple(answer.tolist())) for prompt, answer in zip(PROMPTS, answers, strict=True)], pad=0)
    with batch_context(batch):
        scored = edited(input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids).logits
    torch.testing.assert_close(scored[:, 4:-1], torch.stack(out.logits, dim=1), atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_the_edit_reaches_generated_tokens_only_through_the_cache_unless_onward(llama):
    outputs = []
    model = get_peft_model(llama, ReftConfig(blocks=[1])).eval()
    layer = decoder_blocks(model)[1][1]
    layer.base_layer.register_forward_hook(lambda _module, _args, output: outputs.append(output))
    layer.register_forward_hook(lambda _module, _args, output: outputs.append(output))
    generate(model, PROMPTS)
    assert len(outputs) == 12  # six forward passes, each before and after the edit
    assert [not torch.equal(before, after) for before, after in zip(outputs[::2], outputs[1::2], strict=True)] == [True] + [False] * 5
    outputs.clear()
    model.peft_config["default"].positions = "onward"
    generate(model, PROMPTS)
    assert [not torch.equal(before, after) for before, after in zip(outputs[::2], outputs[1::2], strict=True)] == [True] * 6


def test_beam_search_runs(llama):
    model = get_peft_model(llama, GrunConfig(positions="onward")).eval()
    assert generate(model, PROMPTS, num_beams=2).shape == (3, 11)


@torch.no_grad()
def test_right_padding_moves_the_last_prompt_token(llama):
    model = get_peft_model(llama, GrunConfig(blocks=[1])).eval()
    ids = torch.tensor([[11, 12, 13, 0, 0], [31, 32, 33, 34, 35]])
    padded = model(ids, attention_mask=torch.tensor([[1, 1, 1, 0, 0], [1] * 5])).logits
    torch.testing.assert_close(padded[:1, :3], model(ids[:1, :3]).logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(padded[1:], model(ids[1:]).logits, atol=1e-5, rtol=1e-5)


@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5), left=st.booleans())
def test_the_last_prompt_token_is_found_under_either_padding(lengths, left):
    mask = torch.zeros(len(lengths), 7, dtype=torch.bool)
    for row, length in enumerate(lengths):
        mask[row, slice(7 - length, 7) if left else slice(0, length)] = True
    prompts = Prompts.from_mask(mask)
    last = [6 if left else length - 1 for length in lengths]
    assert prompts.last.tolist() == last
    assert (prompts.min_last, prompts.max_last) == (min(last), max(last))


@torch.no_grad()
def test_ambiguous_prompts_are_refused(llama, batch):
    model = get_peft_model(llama, GrunConfig()).eval()
    past = model(torch.tensor([[1, 2, 3]]), use_cache=True).past_key_values
    with pytest.raises(ExpungeError, match="after a filled KV cache"):
        model(torch.tensor([[4, 5]]), past_key_values=past)
    with pytest.raises(ExpungeError, match=r"\(batch, seq\)"):
        generate(model, PROMPTS, cache_implementation="static", disable_compile=True)
    with pytest.raises(ExpungeError, match="use_cache"):
        generate(model, PROMPTS, use_cache=False)
    with pytest.raises(ExpungeError, match="do not fit"), batch_context(batch):
        model(batch.input_ids[:, :-1])


@torch.no_grad()
def test_the_span_ends_with_its_context(llama, batch):
    model = get_peft_model(llama, GrunConfig()).eval()
    before = model(batch.input_ids).logits
    with batch_context(batch):
        assert not torch.equal(model(batch.input_ids).logits, before)
    assert torch.equal(model(batch.input_ids).logits, before)


@torch.no_grad()
def test_inputs_may_come_as_embeddings_and_without_a_mask(model):
    edited = get_peft_model(model, GrunConfig()).eval()
    ids = torch.tensor([PROMPTS[1]])
    embedded = edited(inputs_embeds=edited.get_input_embeddings()(ids)).logits
    torch.testing.assert_close(embedded, edited(ids, attention_mask=torch.ones_like(ids)).logits, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_hidden_state_of_an_edited_block_is_the_one_before_the_edit(llama):
    ids = torch.tensor([PROMPTS[1]])
    base = llama(ids, output_hidden_states=True).hidden_states
    edited = get_peft_model(llama, ReftConfig(blocks=[1])).eval()(ids, output_hidden_states=True).hidden_states
    # Entry 0 is the embedding, entry 2 the output of block 1.
    assert torch.equal(edited[2], base[2])
    assert not torch.equal(edited[3], base[3])


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_no_gradient(model, batch, reentrant):
    edited = get_peft_model(model, GrunConfig(blocks=[1, 3])).train()

    def gradients() -> list[torch.Tensor]:
        edited.zero_grad()
        with batch_context(batch):
            loss = edited(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[:, 4:].logsumexp(-1).sum()
        (loss + gate_logits(edited).sum()).backward()
        return [parameter.grad.clone() for parameter in edited.parameters() if parameter.requires_grad]

    plain = gradients()
    edited.gradient_checkpointing_enable({"use_reentrant": reentrant})
    edited.enable_input_require_grads()
    checkpointed = gradients()
    assert len(plain) == 10
    assert all(grad.abs().sum() > 0 for grad in plain)
    for one, other in zip(plain, checkpointed, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


def test_a_bf16_model_keeps_an_fp32_edit_even_under_autocast(llama, batch):
    model = get_peft_model(llama.bfloat16(), GrunConfig(blocks=[1, 3], gate="mlp"))
    assert {parameter.dtype for parameter in model.parameters() if parameter.requires_grad} == {torch.float32}
    with batch_context(batch):
        plain = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        expected = gate_logits(model)[0].tolist()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    assert plain.dtype == torch.bfloat16
    assert gate_logits(model).dtype == torch.float32
    assert gate_logits(model)[0].tolist() == pytest.approx(expected, abs=0.05)
    plain.sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters() if parameter.requires_grad)


def test_distributed_training_reduces_the_edits_gradients(llama, batch, tmp_path):
    model = get_peft_model(llama, GrunConfig(blocks=[1, 3]))
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
        with batch_context(batch):
            loss = wrapped(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits.logsumexp(-1).sum()
        (loss + gate_logits(wrapped).sum()).backward()
        assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
        # Delete the wrapper before its process group: as the last owner it may wait for the group's thread for ever.
        del wrapped, loss
    finally:
        torch.distributed.destroy_process_group()
