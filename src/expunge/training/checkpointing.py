"""A `Trainer` whose checkpoints are safetensors and JSON, hold only finite numbers, and are whole or not there."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from accelerate import DistributedType
from accelerate.utils import gather_object
from torch import Tensor, nn
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME

from expunge.edits.manifest import write_manifest
from expunge.errors import InputError
from expunge.files import atomic_folder, remove_folder, write_text
from expunge.models.finite import LOWER_LR, check_finite, json_text
from expunge.training import checkpoint_files as files
from expunge.training.checkpoints import sorted_checkpoints

MOST_CHECKPOINTS = 2
"""Number of newest checkpoints on the disk: if one is damaged, the one before it remains."""
SPREAD_BY_OTHERS = (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


class CheckpointedTrainer(Trainer):
    """`transformers.Trainer` with its own checkpoints: those of `Trainer` are pickles, and loading one runs the code in it."""

    def check_can_save(self) -> None:
        """Raise `InputError` for a run with checkpoints whose weights are spread in a way that only pickles can hold."""
        sharded_otherwise = self.is_fsdp_enabled and not self.accelerator.is_fsdp2
        if self.args.save_strategy != "no" and (sharded_otherwise or self.accelerator.distributed_type in SPREAD_BY_OTHERS):
            kind = "FSDP 1" if sharded_otherwise else self.accelerator.distributed_type.value
            raise InputError(f"training.save_steps: checkpoints under {kind} would be pickles; set it to 0, or use FSDP 2")

    def check_finite_state(self, consequence: str) -> None:
        """Raise `ExpungeError` that names the first trained weight, or the first moment of the optimiser, that is not finite."""
        where = f"after step {self.state.global_step}; {consequence}; {LOWER_LR}"
        check_finite(self._edited().items(), where)
        check_finite(files.moments(self._optimizer, self._names()), where)

    def _edited(self) -> dict[str, nn.Parameter]:
        return files.edited_parameters(cast(nn.Module, self.model))

    def _names(self) -> dict[nn.Parameter, str]:
        return {parameter: name for name, parameter in cast(nn.Module, self.model).named_parameters()}

    @property
    def _optimizer(self) -> Any:
        return self.optimizer

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        self.check_finite_state("the checkpoint was not saved")
        weights = files.gathered(cast(dict[str, Tensor], self._edited()))
        moments = files.gathered(files.moments(self._optimizer, self._names()))
        # One process writes for all of them, so that the folder is whole when it appears.
        random_states = gather_object([files.random_states()])
        if self.args.should_save:
            folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
            with atomic_folder(folder) as fresh:
                files.write_tensors(fresh / files.WEIGHTS, weights)
                files.write_tensors(fresh / files.MOMENTS, moments)
                settings = files.settings_of(self._optimizer, self.lr_scheduler, self.accelerator.scaler)
                write_text(fresh / files.SETTINGS, json_text(settings, files.SETTINGS))
                write_text(fresh / TRAINER_STATE_NAME, json_text(asdict(self.state), TRAINER_STATE_NAME))
                for rank, states in enumerate(random_states):
                    files.write_random_states(fresh, rank, states)
                write_manifest(fresh)
            _delete_old(folder.parent)
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        files.load_weights(cast(nn.Module, self.model), Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            files.load_moments(self._optimizer, self._names(), Path(checkpoint))
            files.load_schedule(self.lr_scheduler, Path(checkpoint))

    def _load_scaler(self, checkpoint: str | None) -> None:
        if checkpoint is not None and self.accelerator.scaler is not None:
            files.load_scaler(self.accelerator.scaler, Path(checkpoint))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            files.load_random_states(Path(checkpoint), self.args.process_index)


def _delete_old(folder: Path) -> None:
    for path in sorted_checkpoints(folder)[MOST_CHECKPOINTS:]:
        remove_folder(path)
