"""Teach a model records by a short fine-tune: the original and the control of the demo and of the benchmarks."""

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from expunge.config import DataSection, EditSection, TrainingSection
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, data_hash
from expunge.edits.apply import apply_edit
from expunge.files import atomic_folder
from expunge.models.blocks import decoder_blocks
from expunge.models.embedded import cache_dir
from expunge.models.loading import load, weights_sha256
from expunge.objectives import Learn
from expunge.training.inputs import encode_rows
from expunge.training.train import train

LR, BATCH_SIZE, WARMUP = 3e-4, 4, 0.05


@dataclass(frozen=True)
class Lesson:
    """One stage of a teaching.

    Attributes:
        name: of the model it ends with.
        records: what is taught.
        epochs: passes over them.
    """

    name: str
    records: Sequence[Record]
    epochs: float


def teach(base: str, lessons: Sequence[Lesson], display: Display) -> dict[str, Path]:
    """Fine-tune the upper half of a model's blocks lesson after lesson, keeping the model that each ends with.

    A control is the first lesson, on what is to be kept; the original goes on from there with everything.

    Args:
        base: as `expunge.models.loading.load` takes it.
        lessons: one after the other, each from where the one before ended.
        display: where progress goes.

    Returns:
        {lesson's name: model folder}, in the user's cache; the same call again finds them there.
    """
    model, tokenizer = load(base)
    before = weights_sha256(model)
    blocks_name, blocks = decoder_blocks(model)
    upper = "|".join(str(block) for block in range(len(blocks) // 2, len(blocks)))
    edit = EditSection(name="full", modules=rf"^{re.escape(blocks_name)}\.({upper})\.")
    builder = PromptBuilder(tokenizer)
    folders: dict[str, Path] = {}
    for lesson in lessons:
        depends = [before, data_hash(list(lesson.records)), lesson.epochs, LR, BATCH_SIZE, WARMUP]
        before = hashlib.sha256(json.dumps(depends).encode()).hexdigest()
        folders[lesson.name] = folder = cache_dir() / "taught" / f"{lesson.name}-{before[:16]}"
        if (folder / "config.json").exists():
            model, tokenizer = load(folder)
            continue
        settings = TrainingSection(epochs=lesson.epochs, lr=LR, batch_size=BATCH_SIZE, warmup_ratio=WARMUP, save_steps=0)
        recipe = Recipe(model=base, data=DataSection(forget=lesson.name), objective=Learn(), edit=edit, training=settings)
        apply_edit(model, edit, "")
        rows = encode_rows(builder, list(lesson.records), [], recipe.objective)
        title = f"Teaching {len(lesson.records)} records ({lesson.name})"
        with atomic_folder(folder) as fresh:
            with display.progress() as progress:
                train(model, recipe, rows, fresh / "log", builder.pad, progress, title)
            shutil.rmtree(fresh / "log")
            model.save_pretrained(fresh)
            tokenizer.save_pretrained(fresh)
    return folders
