"""Fine-tune a model on records, to make the original and the control model of the demo and the benchmarks."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from expunge.config import DataSection, EditSection, TrainingSection
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, data_hash
from expunge.edits.apply import apply_edit
from expunge.files import atomic_folder, cache_dir, remove_folder
from expunge.models.blocks import decoder_blocks
from expunge.models.finite import check_finite
from expunge.models.identified import IdentifiedModel, load_identified, load_recorded, record_identity
from expunge.models.placement import Placement, choose_placement, in_fp32
from expunge.models.process_memory import keep_free_memory
from expunge.objectives import Learn
from expunge.training.inputs import encode_records
from expunge.training.train import train

LR, BATCH_SIZE, WARMUP = 3e-4, 4, 0.05


@dataclass(frozen=True)
class Stage:
    """One stage of the fine-tuning.

    Attributes:
        name: of the model after this stage.
        records: the training data.
        epochs: passes over them.
    """

    name: str
    records: Sequence[Record]
    epochs: float


def teach(base: str, stages: Sequence[Stage], display: Display, placement: Placement | None = None) -> dict[str, Path]:
    """Fine-tune the upper half of a model's blocks in stages, and save the model after each stage.

    The first stage makes a control from the retain set. The next one continues from it with all records and makes the original.

    Args:
        base: as `expunge.models.loading.load` takes it.
        stages: each starts from the model of the one before.
        display: shows the progress.
        placement: of the model, whose weights are fp32; None: chosen for this machine.

    Returns:
        {name of the stage: model folder}. The folders are in the user's cache, and the same call finds them there.
    """
    placement = in_fp32(placement or choose_placement(), "teaching")
    current = load_identified(base, placement)
    before = current.identity.sha256
    blocks_name, blocks = decoder_blocks(current.model)
    upper = "|".join(str(block) for block in range(len(blocks) // 2, len(blocks)))
    edit = EditSection(name="full", modules=rf"^{re.escape(blocks_name)}\.({upper})\.")
    folders: dict[str, Path] = {}
    for stage in stages:
        depends = [before, data_hash(list(stage.records)), stage.epochs, LR, BATCH_SIZE, WARMUP]
        before = hashlib.sha256(json.dumps(depends).encode()).hexdigest()
        folders[stage.name] = folder = cache_dir() / "taught" / f"{stage.name}-{before[:16]}"
        # A damaged model is taught again.
        if (taught := load_recorded(folder, placement)) is None:
            _teach_stage(current, stage, edit, folder, display)
            # The next stage starts from the saved model, because the trained one keeps its trainer's wrappers. It is read in any case, to
            # see that it was saved whole.
            taught = cast(IdentifiedModel, load_recorded(folder, placement))
        current = taught
    return folders


def _teach_stage(start: IdentifiedModel, stage: Stage, edit: EditSection, folder: Path, display: Display) -> None:
    """Train the model on the records of a stage, and save it into a folder."""
    model, builder = start.model, PromptBuilder(start.tokenizer)
    settings = TrainingSection(epochs=stage.epochs, lr=LR, batch_size=BATCH_SIZE, warmup_ratio=WARMUP, save_steps=0)
    recipe = Recipe(data=DataSection(forget=stage.name), objective=Learn(), edit=edit, training=settings)
    apply_edit(model, edit, "")
    rows = encode_records(builder, list(stage.records), [], recipe.objective)
    title = f"Teaching {len(stage.records)} records ({stage.name})"
    with atomic_folder(folder) as fresh:
        with display.progress() as progress, keep_free_memory():
            train(model, recipe, rows, fresh / "log", builder.pad, progress, title)
        remove_folder(fresh / "log")
        check_finite(model.state_dict().items(), "and the taught model was not saved; check the base model's weights")
        model.save_pretrained(fresh)
        start.tokenizer.save_pretrained(fresh)
        record_identity(fresh)
