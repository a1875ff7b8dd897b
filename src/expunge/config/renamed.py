"""Old names of settings: a recipe or suite that uses one gets an error with the new name."""

import re
from collections.abc import Sequence
from typing import Any

REVEAL = {
    "wanted": "topics",
    "begin": "prefixes",
    "texts": "instructions",
    "ask": "prompt_template",
    "intrinsic": "intrinsic_dim",
    "spread": "soft_token_scale",
    "samples": "samples_per_instruction",
    "starts": "random_starts",
    "scan": "candidates_per_step",
    "together": "batch_size",
    "explore": "exploration",
    "candidates": "pool_size",
    "until": "truncate_at",
    "best": "top_k",
    "floor": "min_relevance",
    "shortest": "min_chars",
    "longest": "max_chars",
    "near": "dedup_threshold",
    "fewest": "min_responses",
}
RELEASE = {
    "pem": "module",
    "retain_pem": "retain_module",
    "retain_rows": "retain_max_records",
    "retain_active": "retain_module_active",
    "keep": "retain_kl_weight",
    "keep_at": "retain_kl_lambda",
    "overlap.also_b": "overlap.include_b",
    "lambda_tries": "lambda_evaluations",
    "utility_drop_max": "max_utility_drop",
    "forget_target": "target_forget_nll",
}
EDIT = {
    "gate_lessons": "gate_augmentations",
    "gate_normed": "gate_layer_norm",
    "gate_balanced": "gate_class_balance",
    "false_positives": "false_positive_rate",
}
TRAINING = {
    "clip": "max_grad_norm",
    "schedule": "lr_scheduler",
    "warmup": "warmup_ratio",
    "gate_weight": "gate_loss_weight",
    "frozen_prefix": "prefix_cache",
    "frozen_prefix_gib": "prefix_cache_gib",
}
OBJECTIVE = {"floor": "target_nll", "push": "push_weight"}
AUDIT = {"max_rows": "max_records"}
TASK = {
    "forgotten": "forget_people",
    "kept": "retain_people",
    "rows": "max_sentences",
    "completions": "max_completions",
    "maths_rows": "max_maths_problems",
    "maths_answers": "max_maths_answers",
    "prompts": "max_prompts",
    "samples": "samples_per_prompt",
}

SECTIONS = {
    "data.forget.reveal": REVEAL,
    "release": RELEASE,
    "edit": EDIT,
    "training": TRAINING,
    "objective": OBJECTIVE,
    "audit": AUDIT,
    "task": TASK,
}
RENAMED = {f"{section}.{old}": f"{section}.{new}" for section, names in SECTIONS.items() for old, new in names.items()}
"""Settings of a recipe: full dotted old name -> full dotted new name."""

RENAMED_IN_SUITES = {
    "seconds": "budget_seconds",
    "max_rows": "max_records",
    "membership": "membership_records",
    "gradients": "membership_gradients",
    "allowed": "tolerance",
    "tolerance.told": "tolerance.leak",
    "tolerance.lost": "tolerance.utility_drop",
    "tolerance.gibberish": "tolerance.degenerate",
    "tolerance.refused": "tolerance.refusals",
    "attacks.*.records": "attacks.*.max_records",
}
"""Settings of a suite; `*` stands for the number of an attack."""

RENAMED_VALUES = {
    "edit.gate_augmentations": {
        "mistyped": "typos",
        "notes": "retain_notes",
        "examples": "few_shot",
        "asides": "unrelated_text",
        "neutral": "neutral_prompts",
        "strangers": "other_names",
        "near_strangers": "similar_names",
        "mined": "mined_negatives",
    },
}
"""Values of a setting: full dotted setting -> {old value: new value}."""


def renamed_setting(errors: Sequence[Any], renamed: dict[str, str]) -> str | None:
    """Return "setting: this setting is now called …" for the first error that an old name caused, or None.

    Args:
        errors: as `pydantic.ValidationError.errors` gives them; only names that the schema does not know are looked up.
        renamed: old dotted name -> new dotted name.
    """
    for error in errors:
        place = [str(part) for part in error["loc"] if part not in ("str", "Revealed")]
        if error["type"] == "literal_error":
            setting = ".".join(part for part in place if not part.isdigit())
            if new := RENAMED_VALUES.get(setting, {}).get(str(error["input"])):
                return f"{setting}: the value {error['input']} is now called {new}"
        elif error["type"] != "extra_forbidden":
            unknown = re.search(r"has no setting (\w+)", error["msg"])
            place += [unknown[1]] if unknown else [""]
        pattern = ".".join("*" if part.isdigit() else part for part in place)
        if new := renamed.get(pattern):
            return f"{'.'.join(place)}: this setting is now called {new.rpartition('.')[2]}"
    return None
