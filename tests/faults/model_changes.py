"""Changes of a model folder: each that changes an answer, by the part of the identity that it belongs to, and some that change none."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

FAMILIES = ("llama", "qwen3", "gemma3", "gpt2", "gpt_neox")
ROTARY = ("llama", "qwen3", "gpt_neox")


@dataclass(frozen=True)
class Change:
    """A change of a model folder.

    Attributes:
        part: of the identity that differs afterwards, in words.
        make: changes the folder.
        families: the architectures that it applies to.
    """

    part: str
    make: Callable[[Path], None]
    families: tuple[str, ...] = FAMILIES


def edit_json(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Return a function that changes the content of a JSON file of a folder."""

    def make(folder: Path) -> None:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        change(content)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    return make


def config(**values: Any) -> Callable[[Path], None]:
    """Return a function that sets fields of the configuration."""
    return edit_json("config.json", lambda given: given.update(values))


def rope(**values: Any) -> Callable[[Path], None]:
    """Return a function that sets parameters of the rotary embedding."""
    return edit_json("config.json", lambda given: given["rope_parameters"].update(values))


def tokens(**values: Any) -> Callable[[Path], None]:
    """Return a function that sets fields of tokenizer.json."""
    return edit_json("tokenizer.json", lambda given: given.update(values))


def settings(**values: Any) -> Callable[[Path], None]:
    """Return a function that sets fields of tokenizer_config.json."""
    return edit_json("tokenizer_config.json", lambda given: given.update(values))


def generation(**values: Any) -> Callable[[Path], None]:
    """Return a function that sets generation defaults."""
    return edit_json("generation_config.json", lambda given: given.update(values))


def swap_ids(content: dict[str, Any]) -> None:
    """Give two tokens each other's ids."""
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]


def flip_bit(folder: Path) -> None:
    """Flip the lowest bit of one weight."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    next(iter(weights.values())).view(torch.int32).view(-1)[5] ^= 1
    save_file(weights, path, {"format": "pt"})


def rewrite_template(folder: Path) -> None:
    """Let the template put a word before each answer."""
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text(encoding="utf-8") + "{% if add_generation_prompt %}Sure: {% endif %}", encoding="utf-8")


def add_template(folder: Path) -> None:
    """Add a second template, for tools."""
    (folder / "additional_chat_templates").mkdir()
    shutil.copy(folder / "chat_template.jinja", folder / "additional_chat_templates" / "tool_use.jinja")


def same_template_elsewhere(folder: Path) -> None:
    """Move the template to where older versions of transformers keep it."""
    path = folder / "chat_template.jinja"
    settings(chat_template=path.read_text(encoding="utf-8"))(folder)
    path.unlink()


def save_again(folder: Path) -> None:
    """Load and save everything, which writes defaults out and changes versions and paths."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for path in list(folder.iterdir()):
        path.unlink()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


CHANGES = {
    "a weight": Change("weights", flip_bit),
    "rms_norm_eps": Change("configuration", config(rms_norm_eps=1e-3), ("llama", "qwen3", "gemma3")),
    "layer_norm_epsilon": Change("configuration", config(layer_norm_epsilon=1e-3), ("gpt2",)),
    "layer_norm_eps": Change("configuration", config(layer_norm_eps=1e-3), ("gpt_neox",)),
    "rope_theta": Change("configuration", rope(rope_theta=500.0), ROTARY),
    "rope_type": Change("configuration", rope(rope_type="linear", factor=2.0), ROTARY),
    "partial_rotary_factor": Change("configuration", rope(partial_rotary_factor=0.5), ("gpt_neox",)),
    "rope of sliding layers": Change(
        "configuration",
        edit_json("config.json", lambda given: given["rope_parameters"]["sliding_attention"].update(rope_theta=77.0)),
        ("gemma3",),
    ),
    "sliding_window": Change("configuration", config(sliding_window=4), ("gemma3",)),
    "layer_types": Change("configuration", config(layer_types=["full_attention"] * 4), ("gemma3",)),
    "query_pre_attn_scalar": Change("configuration", config(query_pre_attn_scalar=64), ("gemma3",)),
    "final_logit_softcapping": Change("configuration", config(final_logit_softcapping=2.0), ("gemma3",)),
    "use_parallel_residual": Change("configuration", config(use_parallel_residual=False), ("gpt_neox",)),
    "scale_attn_by_inverse_layer_idx": Change("configuration", config(scale_attn_by_inverse_layer_idx=True), ("gpt2",)),
    "hidden_act": Change("configuration", config(hidden_act="relu"), ("llama", "qwen3", "gpt_neox")),
    "tie_word_embeddings": Change("configuration", config(tie_word_embeddings=True), ("llama", "qwen3", "gpt_neox")),
    "max_position_embeddings": Change("configuration", config(max_position_embeddings=64), ("llama", "qwen3", "gemma3", "gpt_neox")),
    "ids of two tokens": Change("tokenizer", edit_json("tokenizer.json", swap_ids)),
    "a merge": Change("tokenizer", edit_json("tokenizer.json", lambda given: given["model"]["merges"].pop())),
    "order of merges": Change("tokenizer", edit_json("tokenizer.json", lambda given: given["model"]["merges"].reverse())),
    "normalizer": Change("tokenizer", tokens(normalizer={"type": "Lowercase"})),
    "pre_tokenizer": Change("tokenizer", edit_json("tokenizer.json", lambda given: given["pre_tokenizer"].update(add_prefix_space=True))),
    "decoder": Change("tokenizer", tokens(decoder=None)),
    "a token no longer special": Change(
        "tokenizer", edit_json("tokenizer.json", lambda given: given["added_tokens"][1].update(special=False))
    ),
    "a token that strips": Change("tokenizer", edit_json("tokenizer.json", lambda given: given["added_tokens"][1].update(lstrip=True))),
    "eos_token": Change("tokenizer", settings(eos_token="<|im_start|>")),
    "bos_token": Change("tokenizer", settings(bos_token="<|im_start|>")),
    "clean_up_tokenization_spaces": Change("tokenizer", settings(clean_up_tokenization_spaces=True)),
    "split_special_tokens": Change("tokenizer", settings(split_special_tokens=True)),
    "chat template": Change("chat template", rewrite_template),
    "no chat template": Change("chat template", lambda folder: (folder / "chat_template.jinja").unlink()),
    "a template for tools": Change("chat template", add_template),
    "eos_token_id": Change("generation defaults", generation(eos_token_id=[1, 2])),
    "repetition_penalty": Change("generation defaults", generation(repetition_penalty=1.3)),
    "suppress_tokens": Change("generation defaults", generation(suppress_tokens=[5, 6])),
}
"""Changes of an answer, or of what a program beside expunge answers from the same files."""

HARMLESS: dict[str, Callable[[Path], None]] = {
    "a README": lambda folder: (folder / "README.md").write_text("# A model\n", encoding="utf-8"),
    "another library version": config(transformers_version="5.0.0"),
    "another path": config(_name_or_path="/somewhere/else"),
    "another path of the tokenizer": settings(name_or_path="/somewhere/else"),
    "another type of the stored numbers": config(dtype="bfloat16"),
    "names of the classes": config(architectures=None, id2label={"0": "POSITIVE"}, label2id={"POSITIVE": 0}),
    "sampling": generation(do_sample=True, temperature=0.3, top_p=0.5, top_k=3),
    "padding on the right": settings(padding_side="right"),
    "a template in another file": same_template_elsewhere,
    "no generation defaults": lambda folder: (folder / "generation_config.json").unlink(),
    "saved again": save_again,
}
"""Changes after which every answer is the same: loading sets padding and greedy decoding anyway."""
