"""Train a recipe and audit the result: what `expunge unlearn` and `expunge run` share."""

from expunge.cli.output import duration, print_closing
from expunge.cli.tables import print_summary
from expunge.config.recipe import Recipe
from expunge.console import Display


def train_and_audit(recipe: Recipe, audited: bool, device: str, dtype: str) -> None:
    """Train the recipe's edit, or release in rounds; audit the result if `audited`; print where it is.

    `device` and `dtype` are those of `expunge.models.placement.choose_placement`.
    """
    from accelerate import PartialState

    from expunge.models.placement import choose_placement
    from expunge.pipeline.release import release
    from expunge.pipeline.unlearn import unlearn

    display, placement = Display(), choose_placement(device, dtype)
    train = unlearn if recipe.release is None else release
    run = train(recipe, display, placement)
    if not PartialState().is_main_process:
        return
    if audited:
        from expunge.api import audit

        audit(run, device=device, dtype=dtype)
        print_summary(run)
    info = run.read_info()
    rows = info["data"]["forget"]["rows"]
    what = f"{rows} record{'' if rows == 1 else 's'} in {duration(info['seconds'])}"
    print_closing(run, f"Forgot {what}." if audited else f"Trained to forget {what}. Nothing is measured yet.")
