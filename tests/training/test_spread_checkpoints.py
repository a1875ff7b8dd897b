"""Checkpoints are refused where the weights are spread over processes in a way that only pickles can hold."""

from types import SimpleNamespace

import pytest
from accelerate import DistributedType

from expunge.errors import InputError
from expunge.training.checkpointing import CheckpointedTrainer


def check(kind: DistributedType, fsdp2: bool = False, strategy: str = "steps") -> None:
    accelerator = SimpleNamespace(is_fsdp2=fsdp2, distributed_type=kind)
    spread = SimpleNamespace(
        is_fsdp_enabled=kind is DistributedType.FSDP, accelerator=accelerator, args=SimpleNamespace(save_strategy=strategy)
    )
    CheckpointedTrainer.check_can_save(spread)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(DistributedType.DEEPSPEED, "DEEPSPEED"), (DistributedType.MEGATRON_LM, "MEGATRON_LM"), (DistributedType.FSDP, "FSDP 1")],
)
def test_checkpoints_that_would_be_pickles_are_refused(kind, name):
    with pytest.raises(InputError, match=rf"^training\.save_steps: checkpoints under {name} would be pickles; set it to 0"):
        check(kind)
    check(kind, strategy="no")


def test_checkpoints_of_fsdp_2_and_ddp_are_written():
    check(DistributedType.FSDP, fsdp2=True)
    check(DistributedType.MULTI_CPU)
