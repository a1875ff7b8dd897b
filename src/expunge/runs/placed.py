"""Record where a run's model was loaded and in which dtype, and resume a run in the same dtype."""

from dataclasses import replace

from expunge.errors import InputError
from expunge.models.placement import DTYPES, Placement
from expunge.runs.folder import INFO
from expunge.runs.loaded import OpenedRun


def placement_facts(placement: Placement) -> dict[str, str]:
    """Return what run.json records of the placement of a loaded model."""
    return {"device": str(placement.device), "dtype": dtype_name(placement.dtype)}


def dtype_name(dtype: object) -> str:
    """Return the name of a dtype as `--dtype` takes it; one that the option does not have keeps PyTorch's name."""
    return next((name for name, known in DTYPES.items() if known == dtype), str(dtype).removeprefix("torch."))


def resumed_placement(run: OpenedRun, placement: Placement) -> Placement:
    """Return the placement for a run that may have been started before: with other weights the steps would not fit together.

    Raises:
        InputError: the run was started in another dtype than the one that the user chose.
    """
    started = run.info.get("placement")
    if started is None or not (run.training_started or run.search_started):
        return placement
    dtype = DTYPES.get(started["dtype"])
    if dtype is None:
        return replace(placement, dtype_if_short=None)
    if placement.dtype not in (None, dtype) and placement.dtype_if_short is None:
        chosen = dtype_name(placement.dtype)
        raise InputError(f"{run.folder / INFO}: the run was started with dtype {started['dtype']}, not {chosen}; leave dtype out")
    return replace(placement, dtype=dtype, dtype_if_short=None)
