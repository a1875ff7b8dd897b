"""Train a recipe and audit the result: what `expunge unlearn` and `expunge run` share."""

from expunge.cli.output import duration, print_closing
from expunge.cli.tables import print_summary
from expunge.config.recipe import Recipe
from expunge.console import Display


def train_and_audit(recipe: Recipe, audited: bool) -> None:
    """Train the recipe's edit, or release in rounds; audit the result if `audited`; print where it is."""
    from accelerate import PartialState

    from expunge.pipeline.release import release
    from expunge.pipeline.unlearn import unlearn

    display = Display()
    run = unlearn(recipe, display) if recipe.release is None else release(recipe, display)
    if not PartialState().is_main_process:
        return
    if audited:
        from expunge.api import audit

        audit(run)
        print_summary(run)
    info = run.read_info()
    print_closing(run, f"Forgot {info['data']['forget']['rows']} records in {duration(info['seconds'])}.")
