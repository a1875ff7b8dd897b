"""Several requests on one model: their changes add up, requests are added and removed, each has its reference model."""

import pytest
import torch
from peft import PeftModel, get_peft_model

from expunge.edits.active import edits_off, gate_logits
from expunge.edits.grun import GrunConfig, GrunLayer, ReftConfig
from expunge.edits.manifest import write_manifest
from expunge.edits.requests import REQUEST, add_request, remove_request, requests
from expunge.errors import InputError

CONFIGS = {
    "linear": lambda: GrunConfig(blocks=[1, 3], base_sha256="b"),
    "mlp": lambda: GrunConfig(blocks=[1, 2], gate="mlp", base_sha256="b"),
    "pooled": lambda: GrunConfig(blocks=[2, 3], gate_pool="max", gate_blocks=[0], base_sha256="b"),
}


@pytest.fixture
def saved(make_llama, tmp_path):
    """Save an adapter trained alone on the same base model: `saved(name, config)` returns its folder."""

    def save(name, config):
        torch.manual_seed(sum(name.encode()))
        model = get_peft_model(make_llama(), config)
        for layer in model.modules():
            # The initial W changes little; this W is far enough from the identity to show the effect of each adapter.
            if isinstance(layer, GrunLayer) and "default" in layer.grun_source:
                torch.nn.init.normal_(layer.grun_source["default"].weight)
        model.save_pretrained(str(tmp_path / name))
        write_manifest(tmp_path / name)
        return tmp_path / name

    return save


def logits(model, batch):
    with torch.no_grad():
        return model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids).logits


@pytest.mark.parametrize("config", CONFIGS)
def test_one_request_is_the_adapter_alone_bit_for_bit(make_llama, saved, batch, config):
    folder = saved("a", CONFIGS[config]())
    alone = PeftModel.from_pretrained(make_llama(), str(folder))
    assert torch.equal(logits(add_request(make_llama(), folder, "first"), batch), logits(alone, batch))


def test_adding_and_removing_a_request_leaves_no_trace(make_llama, saved, batch):
    folders = {name: saved(name, make()) for name, make in CONFIGS.items()}
    base = make_llama()
    before = logits(base, batch)
    model, seen = base, []
    for name, folder in folders.items():
        model = add_request(model, folder, name)
        seen.append(logits(model, batch))
        assert not any(p.requires_grad for key, p in model.named_parameters() if "grun" in key)
    assert requests(model) == ["linear", "mlp", "pooled"]
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    model = remove_request(model, "pooled")
    assert requests(model) == ["linear", "mlp"]
    assert torch.equal(logits(model, batch), seen[1])
    model = remove_request(model, "mlp")
    assert torch.equal(logits(model, batch), seen[0])
    assert torch.equal(logits(remove_request(model, "linear"), batch), before)


def test_a_gate_in_a_block_that_another_request_wrapped_still_works(make_llama, saved, batch):
    # The pooled gate is in block 0, which the first request wraps for its edit; the gate's edits are in other blocks.
    model = add_request(make_llama(), saved("first", GrunConfig(blocks=[0], base_sha256="b")), "first")
    model = add_request(model, saved("pooled", CONFIGS["pooled"]()), REQUEST)
    logits(model, batch)
    assert gate_logits(model, REQUEST).shape == (1, len(batch.input_ids))
    assert gate_logits(model).shape == (2, len(batch.input_ids))


def test_the_reference_of_a_request_is_the_base_with_the_earlier_requests(make_llama, saved, batch):
    before = add_request(make_llama(), saved("linear", CONFIGS["linear"]()), "request1")
    expected = logits(before, batch)
    model = add_request(before, saved("mlp", CONFIGS["mlp"]()), REQUEST)
    with edits_off(model, REQUEST):
        assert torch.equal(logits(model, batch), expected)
    assert not torch.equal(logits(model, batch), expected)


@pytest.mark.parametrize(("count", "scale"), [(1, 1.2), (2, 1.8), (5, 3.6)])
def test_the_paper_composition_multiplies_by_s_of_n(make_llama, saved, batch, count, scale):
    # An edit at one block: with s(N) = 0.6 N + 0.6 the change of its output is that many times the plain sum's.
    states = {}
    for composition in ("sum", "paper"):
        model = make_llama()
        for i in range(count):
            model = add_request(model, saved(f"m{i}", ReftConfig(blocks=[1], base_sha256="b")), f"m{i}", composition)
        outputs = []
        layer = next(layer for layer in model.modules() if isinstance(layer, GrunLayer))
        layer.base_layer.register_forward_hook(lambda _module, _args, output, outputs=outputs: outputs.append(output))
        layer.register_forward_hook(lambda _module, _args, output, outputs=outputs: outputs.append(output))
        logits(model, batch)
        states[composition] = outputs[1] - outputs[0]
    torch.testing.assert_close(states["paper"], scale * states["sum"], rtol=1e-4, atol=1e-5)


def test_requests_that_cannot_be_combined_are_refused(make_llama, saved):
    model = add_request(make_llama(), saved("linear", CONFIGS["linear"]()), "linear")
    with pytest.raises(InputError, match='already carries a request "linear"'):
        add_request(model, saved("mlp", CONFIGS["mlp"]()), "linear")
    with pytest.raises(InputError, match="another base model"):
        add_request(model, saved("other", GrunConfig(blocks=[1], base_sha256="c")), "other")
    with pytest.raises(InputError, match='request "linear" is of the other kind'):
        add_request(model, saved("reft", ReftConfig(blocks=[1], base_sha256="b")), "reft")
    with pytest.raises(InputError, match='carries no request "mlp"; its requests: linear'):
        remove_request(model, "mlp")
    assert requests(model) == ["linear"]
