"""LoRA modules in weight space: exactly s * B @ A is added, to the right weight and in its orientation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from torch import nn, tensor

from expunge.errors import InputError
from expunge.models.identity import weights_sha256
from expunge.models.loading import load
from expunge.models.placement import choose_placement
from expunge.reveal_release.release.lora_delta import (
    LoraModule,
    add_deltas,
    concatenate,
    deltas,
    read_module,
    save_module,
    temporary_deltas,
)

Q, UP = "model.layers.0.self_attn.q_proj.weight", "model.layers.2.mlp.up_proj.weight"
SORTS = ("llama", "gpt2", "rslora", "patterns", "both")
SENTENCE = tensor([[5, 17, 200, 33, 8]])


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(SENTENCE).logits


def module_of(a, b, scale: float = 1.0, transposed: bool = False) -> LoraModule:
    return LoraModule({Q: (tensor(a), tensor(b))}, {Q: scale}, transposed)


def test_a_delta_by_hand():
    # B A = [[1], [2], [0]] [[3, 4]] = [[3, 4], [6, 8], [0, 0]], times alpha/r = 2/1
    module = module_of([[3.0, 4.0]], [[1.0], [2.0], [0.0]], scale=2.0)
    assert deltas(module)[Q].tolist() == [[6, 8], [12, 16], [0, 0]]
    turned = module_of([[3.0, 4.0]], [[1.0], [2.0], [0.0]], scale=2.0, transposed=True)
    assert deltas(turned)[Q].tolist() == [[6, 12, 0], [8, 16, 0]]


def test_a_delta_is_fp32_for_factors_of_any_dtype():
    # 1 + 2^-10 is no bf16 number: in bf16 the sum of the two products would be 1
    module = module_of([[1.0], [2.0**-10]], [[1.0, 1.0]])
    halves = LoraModule({Q: tuple(factor.bfloat16() for factor in module.factors[Q])}, module.scale)
    assert deltas(halves)[Q].dtype == torch.float32
    assert deltas(halves)[Q].item() == 1 + 2.0**-10


@pytest.mark.parametrize("which", SORTS)
def test_scale_and_rank_equal_those_of_peft(saved, which):
    base, folder = saved(which)
    module, model = read_module(folder), PeftModel.from_pretrained(load(base)[0], str(folder))
    seen = {}
    for name, layer in model.base_model.model.named_modules():
        if name + ".weight" in module.factors:
            seen[name + ".weight"] = layer.scaling["default"], layer.r["default"]
    assert seen == {name: (pytest.approx(module.scale[name]), len(module.factors[name][0])) for name in module.factors}


def test_scales_by_hand(saved):
    # alpha/r: 6/4, with rank_pattern 6/2, with alpha_pattern 3/4; rsLoRA: 6/sqrt(4), with rank_pattern 6/sqrt(2)
    plain, both = read_module(saved("patterns")[1]), read_module(saved("both")[1])
    assert [plain.scale[name] for name in (Q, UP)] == [3.0, 0.75]
    assert plain.scale[UP.replace("2", "1")] == 1.5
    assert [both.scale[name] for name in (UP, Q)] == [3.0, pytest.approx(4.2426407)]


@pytest.mark.parametrize("coefficient", [1.0, -0.7])
@pytest.mark.parametrize("which", SORTS)
def test_adding_equals_merging_by_peft(saved, which, coefficient):
    base, folder = saved(which)
    merged = PeftModel.from_pretrained(load(base)[0], str(folder))
    for module in merged.modules():
        if isinstance(getattr(module, "scaling", None), dict):
            module.scaling["default"] *= coefficient
    ours = load(base)[0]
    add_deltas(ours, [(coefficient, read_module(folder))])
    for name, value in merged.merge_and_unload().state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=0, atol=1e-6)
    assert weights_sha256(ours) != weights_sha256(load(base)[0])


@pytest.mark.parametrize("which", ["llama", "gpt2"])
def test_a_coefficient_of_zero_changes_no_bit(saved, which):
    base, folder = saved(which)
    model, module = load(base)[0], read_module(folder)
    name, (a, _) = next(iter(module.factors.items()))
    # -0.0 + 0.0 is 0.0, and 0 * inf is nan: neither may be computed
    with torch.no_grad():
        model.get_parameter(name)[0, 0] = -0.0
    a[0, 0] = torch.inf
    before = weights_sha256(model)
    add_deltas(model, [(0.0, module), (-0.0, module)])
    add_deltas(model, [])
    assert weights_sha256(model) == before


def test_adding_and_subtracting_leaves_only_fp32_rounding(saved):
    base, folder = saved("llama")
    model, module = load(base)[0], read_module(folder)
    before = weights(model)
    add_deltas(model, [(0.7, module)])
    add_deltas(model, [(-0.7, module)])
    for name, value in model.state_dict().items():
        # Two roundings, each of at most half a unit in the last place of a number below 4
        torch.testing.assert_close(value, before[name], rtol=0, atol=4 * 2.0**-23)


def test_temporary_deltas_are_added_and_removed_to_the_last_bit(saved):
    base, folder = saved("llama")
    model, added, module = load(base)[0], load(base)[0], read_module(folder)
    before = weights_sha256(model)
    add_deltas(added, [(-0.7, module)])
    with temporary_deltas(model, [(-0.7, module), (0.0, module)]):
        assert weights_sha256(model) == weights_sha256(added)
    assert weights_sha256(model) == before


def test_temporary_deltas_are_removed_after_an_interruption(saved):
    base, folder = saved("llama")
    model = load(base)[0]
    before = weights_sha256(model)
    with pytest.raises(KeyboardInterrupt), temporary_deltas(model, [(-0.7, read_module(folder))]):
        raise KeyboardInterrupt
    assert weights_sha256(model) == before


def test_bf16_weights_are_rounded_once():
    # 1 + 3 * 2^-9: each step of 2^-9 alone would be rounded back to 1, which has a neighbour only at 1 + 2^-7; together they go there
    model = nn.Sequential(nn.Linear(1, 1, bias=False, dtype=torch.bfloat16))
    nn.init.ones_(model[0].weight)
    module = LoraModule({"0.weight": (tensor([[1.0]]), tensor([[2.0**-9]]))}, {"0.weight": 1.0})
    add_deltas(model, [(1.0, module)])
    assert model[0].weight.item() == 1
    add_deltas(model, [(1.0, module)] * 3)
    assert model[0].weight.item() == 1 + 2.0**-7
    assert model[0].weight.dtype == torch.bfloat16


def test_a_bf16_model_differs_from_the_exact_sum_only_by_rounding(saved):
    base, folder = saved("gpt2")
    in_bf16, module = choose_placement(dtype="bf16"), read_module(folder)
    half, exact = load(base, in_bf16)[0], load(base, in_bf16)[0].float()
    add_deltas(half, [(-2.0, module)])
    add_deltas(exact, [(-2.0, module)])
    for name, value in half.state_dict().items():
        assert torch.equal(value, exact.state_dict()[name].bfloat16())


factor = st.floats(-2, 2, width=32)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**16), st.lists(st.tuples(st.integers(1, 5), factor, st.floats(0.125, 4)), min_size=1, max_size=4), st.booleans())
def test_concatenated_modules_have_the_sum_of_the_deltas(seed, terms, transposed):
    generator = torch.Generator().manual_seed(seed)
    modules = []
    for rank, _, scale in terms:
        # Every other module also changes a second weight.
        names = ["0.weight", "1.weight"][: 1 + len(modules) % 2]
        draw = {name: (torch.randn(rank, 6, generator=generator), torch.randn(6, rank, generator=generator)) for name in names}
        modules.append(LoraModule(draw, dict.fromkeys(names, scale), transposed))
    coefficients = [c for _, c, _ in terms]
    joined = concatenate(modules, coefficients)
    assert len(joined.factors["0.weight"][0]) == sum(rank for rank, _, _ in terms)
    for name, delta in deltas(joined).items():
        expected = sum(c * deltas(module)[name].double() for c, module in zip(coefficients, modules, strict=True) if name in module.factors)
        size = sum(
            abs(c) * deltas(module)[name].abs().max() for c, module in zip(coefficients, modules, strict=True) if name in module.factors
        )
        torch.testing.assert_close(delta.double(), expected, rtol=0, atol=1e-6 * max(1.0, float(size)))


@pytest.mark.parametrize("which", ["llama", "gpt2"])
def test_adding_a_concatenation_equals_adding_its_parts_to_1e_6(saved, which):
    base, first = saved(which)
    modules = [read_module(first), read_module(saved(which, seed=1)[1])]
    apart, joined = load(base)[0], load(base)[0]
    add_deltas(apart, list(zip([-1.3, 0.4], modules, strict=True)))
    add_deltas(joined, [(1.0, concatenate(modules, [-1.3, 0.4]))])
    for name, value in apart.state_dict().items():
        torch.testing.assert_close(joined.state_dict()[name], value, rtol=0, atol=1e-6)


def test_the_mean_of_factors_is_not_the_mean_of_deltas():
    # deltas [[1, 0], [0, 0]] and [[0, 0], [0, 1]], their mean [[0.5, 0], [0, 0.5]]; of the factors: B [[0.5], [0.5]] A [[0.5, 0.5]]
    one, other = module_of([[1.0, 0.0]], [[1.0], [0.0]]), module_of([[0.0, 1.0]], [[0.0], [1.0]])
    factorwise = LoraModule({Q: tuple((x + y) / 2 for x, y in zip(one.factors[Q], other.factors[Q], strict=True))}, {Q: 1.0})
    assert deltas(concatenate([one, other], [0.5, 0.5]))[Q].tolist() == [[0.5, 0], [0, 0.5]]
    assert deltas(factorwise)[Q].tolist() == [[0.25, 0.25], [0.25, 0.25]]


def test_modules_of_differently_stored_weights_are_not_concatenated():
    with pytest.raises(InputError, match="cannot be concatenated"):
        concatenate([module_of([[1.0]], [[1.0]]), module_of([[1.0]], [[1.0]], transposed=True)], [1, 1])


@pytest.mark.parametrize("which", SORTS)
def test_a_saved_module_is_read_back_and_gives_equal_logits_in_peft(saved, which, tmp_path):
    base, folder = saved(which)
    module = read_module(folder)
    save_module(module, tmp_path / "again")
    again = read_module(tmp_path / "again")
    assert again.transposed == module.transposed
    assert again.scale == pytest.approx(module.scale)
    for name, halves in module.factors.items():
        assert all(torch.equal(x, y) for x, y in zip(halves, again.factors[name], strict=True))
    models = [PeftModel.from_pretrained(load(base)[0], str(path)) for path in (folder, tmp_path / "again")]
    torch.testing.assert_close(*map(logits, models), rtol=0, atol=1e-6)


@pytest.mark.parametrize("which", ["gpt2", "patterns"])
def test_a_saved_concatenation_in_peft_equals_the_changed_weights(saved, which, tmp_path):
    base, folder = saved(which)
    second = read_module(saved(which, seed=1)[1])
    # The second module has fewer weights, so the ranks differ between layers.
    fewer = LoraModule(dict(list(second.factors.items())[::2]), second.scale, second.transposed)
    terms = [(-1.3, read_module(folder)), (0.4, fewer)]
    changed = load(base)[0]
    add_deltas(changed, terms)
    save_module(concatenate([module for _, module in terms], [c for c, _ in terms]), tmp_path / "concatenated")
    adapted = PeftModel.from_pretrained(load(base)[0], str(tmp_path / "concatenated"))
    torch.testing.assert_close(logits(adapted), logits(changed), rtol=1e-5, atol=1e-4)


def test_the_same_module_is_saved_as_the_same_bytes(saved, tmp_path):
    module = read_module(saved("patterns")[1])
    for name in ("one", "two"):
        save_module(module, tmp_path / name)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
