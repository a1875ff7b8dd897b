"""In its context, attention of bf16 tensors on a CPU is that of fp32, rounded once."""

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from expunge.models.attention import attention_in_fp32


def attention(function, dtype, mask):
    generator = torch.Generator().manual_seed(0)
    heads = [torch.randn(2, 4, 6, 8, generator=generator).to(torch.bfloat16).to(dtype).requires_grad_() for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        output, _ = function(torch.nn.Module(), *heads, mask, scaling=0.5)
    output.float().square().sum().backward()
    return output, [head.grad for head in heads]


def test_autocast_of_an_fp32_model_counts_as_bf16():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 4, 6, 8, generator=generator) for _ in range(3))
    with attention_in_fp32(), torch.autocast("cpu", torch.bfloat16):
        # The values come from a linear layer, the others were rotated in fp32.
        output, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](torch.nn.Module(), query, key, value.bfloat16(), None)
    expected, _ = sdpa_attention_forward(torch.nn.Module(), query, key, value.bfloat16().float(), None)
    assert torch.equal(output, expected.bfloat16())


@pytest.mark.parametrize("kind", ["none", "bool", "added"])
def test_bf16_attention_is_fp32_attention_rounded_once(kind):
    allowed = torch.ones(6, 6, dtype=torch.bool).tril()[None, None]
    added = torch.zeros(1, 1, 6, 6).masked_fill(~allowed, torch.finfo(torch.bfloat16).min)
    masks = {"none": (None, None), "bool": (allowed, allowed), "added": (added.to(torch.bfloat16), added)}
    with attention_in_fp32():
        output, gradients = attention(ALL_ATTENTION_FUNCTIONS["sdpa"], torch.bfloat16, masks[kind][0])
    expected, expected_gradients = attention(sdpa_attention_forward, torch.float32, masks[kind][1])
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, expected.to(torch.bfloat16))
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient.float(), wanted, rtol=0.02, atol=0.02)


def test_the_models_get_the_function_in_the_context_only(make_tiny_model):
    model = AutoModelForCausalLM.from_pretrained(make_tiny_model("llama"), dtype=torch.bfloat16)
    ids = torch.arange(1, 8)[None]
    with torch.no_grad():
        before = model(ids).logits
        with attention_in_fp32():
            inside = model(ids).logits
        after = model(ids).logits
    assert torch.equal(before, after)
    assert not torch.equal(before, inside)
    torch.testing.assert_close(inside, before, rtol=0.1, atol=0.05)
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is sdpa_attention_forward


def test_an_error_in_the_context_leaves_it():
    with pytest.raises(RuntimeError, match="stop"), attention_in_fp32():
        raise RuntimeError("stop")
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is sdpa_attention_forward
