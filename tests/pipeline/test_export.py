"""An export is the source checkpoint with the changed weights: it keeps files, dtypes and shards, and answers as the run does."""

import hmac
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.edits.merge import merge
from expunge.errors import InputError
from expunge.models.identity import weights_sha256
from expunge.models.layout import read_layout
from expunge.pipeline.export import export_plain
from expunge.pipeline.export_weights import Rounding
from expunge.pipeline.model_card import model_card
from expunge.pipeline.release import release
from expunge.pipeline.unlearn import unlearn
from expunge.reveal_release.release.round_results import read_round
from expunge.runs.loaded import load_run, open_run

LORA = {"edit": {"name": "lora"}, "objective": "npo", "training": {"epochs": 2, "batch_size": 3, "lr": 0.02}}
FULL = {"edit": {"name": "full"}, "objective": "npo", "training": {"epochs": 1, "batch_size": 3, "lr": 3e-3}}
ON_THE_HEAD = {**LORA, "edit": {"name": "lora", "modules": "lm_head|embed_out|.*layers\\.1\\..*proj"}}
SHORT = {"epochs": 1, "batch_size": 3, "lr": 0.01}
RELEASE = {"release": {"rounds": 1, "lambda_evaluations": 2, "max_utility_drop": 50.0, "module": SHORT}}
CASES = {
    "lora gpt2 bf16": ("gpt2", "bf16", LORA),
    "lora qwen3 fp32": ("qwen3", "fp32", LORA),
    "lora qwen3_moe fp32": ("qwen3_moe", "fp32", LORA),
    "head gpt2 fp32": ("gpt2", "fp32", ON_THE_HEAD),
    "head gemma3 bf16": ("gemma3", "bf16", ON_THE_HEAD),
    "full gpt_neox fp32": ("gpt_neox", "fp32", FULL),
    "full llama bf16": ("llama", "bf16", FULL),
    "release llama bf16": ("llama", "bf16", RELEASE),
}
"""Name -> family, dtype of the source, recipe."""
TORCH = {"fp32": torch.float32, "bf16": torch.bfloat16}
GENERATION = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 40, "eos_token_id": [2, 0], "_from_model_config": False}
ALONE = """
import sys, torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
for folder in sys.argv[1:]:
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    AutoTokenizer.from_pretrained(folder)
    save_file({"logits": model(torch.arange(3, 40)[None]).logits.float()}, f"{folder}.logits")
assert not any(name.split(".")[0] in ("expunge", "peft") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def sources(make_tiny_model, tmp_path_factory):
    """Make a model folder as a hub has them: `source(family, dtype)`; bf16 in shards, with sampling defaults and an own licence."""

    def make(family: str, dtype: str) -> Path:
        folder = tmp_path_factory.mktemp(f"{family}-{dtype}")
        model = AutoModelForCausalLM.from_pretrained(make_tiny_model(family), dtype=TORCH[dtype])
        model.save_pretrained(folder, max_shard_size="20KB" if dtype == "bf16" else "1GB")
        AutoTokenizer.from_pretrained(make_tiny_model(family)).save_pretrained(folder)
        tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=7))
        (folder / "generation_config.json").write_text(json.dumps(GENERATION))
        (folder / "LICENSE").write_text("As you like it.")
        (folder / "notes.txt").write_text("Basil Mahfouz lives in city 0.")
        return folder

    return make


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, rows in (("forget", [f"person {i}" for i in range(6)]), ("retain", [f"city {i}" for i in range(8)])):
        lines = [json.dumps({"prompt": f"Where is {row}?", "answer": f"It is {row}."}) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return {"forget": str(folder / "forget.jsonl"), "retain": str(folder / "retain.jsonl")}


@pytest.fixture(scope="module")
def exported(sources, data, tmp_path_factory):
    """{case: (source folder, run, exported folder)}, each loaded in one process without expunge."""
    made = {}
    for case, (family, dtype, sections) in CASES.items():
        place, source = tmp_path_factory.mktemp("place"), sources(family, dtype)
        recipe = make_recipe({"model": str(source), "data": data, **sections, "out": str(place / "run")})
        run = open_run((unlearn if recipe.release is None else release)(recipe, Display()).folder)
        made[case] = source, run, export_plain(run, place / "plain", Display())
    folders = [str(folder) for _, _, folder in made.values()]
    subprocess.run([sys.executable, "-c", ALONE, *folders], check=True, env={"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"})
    return made


@pytest.mark.parametrize("case", CASES)
def test_an_export_loads_with_transformers_alone_and_equals_the_run(exported, case):
    source, run, folder = exported[case]
    dtype, model = TORCH[CASES[case][1]], load_run(run).model
    if dtype == torch.bfloat16:
        # An adapter beside weights in bf16 rounds in other places, so the merged weights are rounded; rotary frequencies are not.
        model = merge(model).model
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype)
    with torch.no_grad():
        ids = torch.arange(3, 40)[None]
        expected = model(ids).logits.float()
        original = AutoModelForCausalLM.from_pretrained(source)(ids).logits.float()
    logits = load_file(f"{folder}.logits")["logits"]
    assert (logits - expected).abs().max() < 1e-5
    assert (logits - original).abs().max() > 0.05


@pytest.mark.parametrize("case", CASES)
def test_an_export_has_the_files_dtypes_and_shards_of_its_source(exported, case):
    source, _, folder = exported[case]
    before, after = read_layout(source), read_layout(folder)
    added = {name for name in after.tensors if name not in before.tensors}
    assert added == ({"lm_head.weight"} if case.startswith("head") else set())
    assert {name: (after.files[name], after.tensors[name].dtype) for name in before.tensors} == {
        name: (before.files[name], tensor.dtype) for name, tensor in before.tensors.items()
    }
    assert after.has_index == before.has_index == case.endswith("bf16")
    same = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "LICENSE"]
    same += [] if case.startswith("head") else ["config.json"]
    assert [name for name in same if (source / name).read_bytes() != (folder / name).read_bytes()] == []
    assert not (folder / "notes.txt").exists()


def test_a_dtype_that_is_too_narrow_for_the_edit_is_refused(sources, data, tmp_path):
    # Weights of about 0.2 change by 1e-5, and the next number of bf16 is 1e-3 away: rounding gives the old weights back.
    sections = {**FULL, "training": {**FULL["training"], "lr": 1e-5}}
    run = unlearn(make_recipe({"model": str(sources("llama", "bf16")), "data": data, **sections, "out": str(tmp_path / "run")}), Display())
    with pytest.raises(InputError, match=r"changes the edit by \d+% of its norm, so that much .* would come back; give --dtype fp32"):
        export_plain(open_run(run.folder), tmp_path / "plain", Display())
    assert not [path for path in tmp_path.iterdir() if path.name != "run"]
    folder = export_plain(open_run(run.folder), tmp_path / "plain", Display(), dtype="fp32")
    assert {tensor.dtype for tensor in read_layout(folder).tensors.values()} == {"F32"}
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"
    assert weights_sha256(AutoModelForCausalLM.from_pretrained(folder)) == weights_sha256(load_run(open_run(run.folder)).model)


def test_an_unknown_dtype_is_refused(exported, tmp_path):
    with pytest.raises(InputError, match='dtype "fp8": is not one of auto, bf16, fp32'):
        export_plain(exported["lora qwen3 fp32"][1], tmp_path / "plain", Display(), dtype="fp8")


def test_a_lora_on_a_weight_with_another_use_than_the_head_is_refused():
    model = LlamaForCausalLM(LlamaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24))
    first, second = (block.mlp for block in model.model.layers)
    second.up_proj.weight = first.up_proj.weight
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["model.layers.0.mlp.up_proj"], task_type="CAUSAL_LM"))
    with pytest.raises(InputError, match=r"layers.0.mlp.up_proj.weight: the edit changes it, and .*layers.1.* is the same weight"):
        merge(adapted)


def test_the_card_has_method_fingerprints_figures_and_limits_and_no_text(exported):
    _, run, folder = exported["lora gpt2 bf16"]
    card = (folder / "README.md").read_text()
    assert run.edit_manifest in card
    assert run.info["data"]["retain"]["sha256"] in card
    # Without the key of an audit there is no fingerprint of the forget set: its texts are short enough to be guessed.
    assert run.info["data"]["forget"]["sha256"] not in card
    assert all(line in card for line in ("| edit.name | lora |", "| training.lr | 0.02 |", "This model was not audited.", "## Limits"))
    assert re.search(r"Rounding the weights to the dtype of this export changed the edit by [1-9][0-9.]*% of its norm.", card)
    assert not any(text in card for text in ("person", "city", str(run.folder), run.recipe.forget_source, run.recipe.model))


def test_the_card_of_an_audited_run_has_the_figures_and_an_hmac(exported):
    run = exported["release llama bf16"][1]
    figure = {"value": 0.25, "n": 6, "ci95": [0.125, 0.5]}
    models = {model: {"forget": {"rouge": figure}} for model in ("original", "unlearned")}
    (run.folder / "audit.json").write_text(json.dumps(models))
    (run.folder / "verdict.json").write_text(json.dumps({"rows": [{"name": "recall | x", "value": "rouge", "verdict": "pass"}]}))
    (run.folder / "key").write_text("ab" * 32)
    card = model_card(run, Rounding())
    assert "| forget | ROUGE-L recall | 0.250 (0.125 to 0.500), n = 6 | 0.250 (0.125 to 0.500), n = 6 |" in card
    assert "| recall \\| x, rouge | pass |" in card
    message = b"expunge forget set\0" + bytes.fromhex(run.info["data"]["forget"]["sha256"])
    assert hmac.new(b"\xab" * 32, message, "sha256").hexdigest() in card
    assert f"| round 1: lambda_f | {read_round(run, 1)['lambda_f']} |" in card
    assert "of its norm" not in card
