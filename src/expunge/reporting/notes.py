"""Notes of a report: what was not tested, and what the numbers are based on."""

from expunge.auditing.attacks import ATTACKS
from expunge.config import Revealed
from expunge.config.recipe import Recipe
from expunge.data.set_names import FORGET
from expunge.edits import edit_of
from expunge.models.generation import TAKEN_BACK
from expunge.reporting.attack_tables import AttackResults
from expunge.reporting.html import Sample
from expunge.reveal_release.reveal.select import read_results
from expunge.runs.cutting import recorded_remarks
from expunge.runs.folder import REVEAL
from expunge.runs.loaded import OpenedRun

INFERENCE = "membership inference"


def notes(run: OpenedRun, samples: list[Sample], attack_results: AttackResults | None) -> list[str]:
    """Return the notes, one sentence each.

    Args:
        run: an audited run.
        samples: questions and answers; empty if the audit did not save them.
        attack_results: results of attacks; None if the audit had no suite.
    """
    lines = [*_not_tested(run, attack_results)]
    if not samples:
        lines.append(f"Questions and answers are not shown. To include them: expunge audit {run.folder} --show-text")
    lines += [*_gate(run), *recorded_remarks(run)]
    if run.recipe.data.retain is None:
        lines.append(f"No retain set was given: the retain records are {run.recipe.retain_source}.")
    if isinstance(run.recipe.data.forget, Revealed):
        relevance = read_results(run.folder / REVEAL)["judge_relevance"]
        second = "no second oracle judged them" if relevance is None else f"a second oracle gives them a mean relevance of {relevance:.2f}"
        lines.append(f"The model itself revealed the forget records, selected by an oracle; {second}.")
    if run.recipe.release is not None:
        lines.append(f"The unlearned model is that of round {run.info['round']}; the folder rounds/ has the changes of each round.")
    return lines


def threats(recipe: Recipe) -> list[str]:
    """Return what the kind of edit means for an attacker who holds the weights, one sentence each."""
    if not edit_of(recipe).removable:
        return ["This method changed the weights themselves, so there is no separate edit that could be switched off."]
    lines = [f"Whoever holds the files can switch this edit ({recipe.edit.name}) off, so it is no protection if the weights are released."]
    return [*lines, TAKEN_BACK] if recipe.edit.answer_gate else lines


def _not_tested(run: OpenedRun, attack_results: AttackResults | None) -> list[str]:
    # Only a removable edit can be switched off.
    attacks = [attack for attack in ATTACKS.values() if edit_of(run.recipe).removable or not attack.removes_edit]
    rows_of = {attack.name: [] if attack_results is None else attack_results.rows_of(attack.name) for attack in attacks}
    missing = [part for attack in attacks for part in attack.untested(rows_of[attack.name])]
    if not any(name.startswith("mia_") for name in run.summary["unlearned"][FORGET]):
        missing.append(INFERENCE)
    summary = f"Not tested: {', '.join(missing)}." if missing else "Every kind of attack that expunge has was tested."
    if attack_results is None:
        return [summary, f"To also run attacks: expunge audit {run.folder} --suite quick"]
    lines = [summary]
    if attack_results.records < (rows := run.info["data"]["forget"]["rows"]):
        lines.append(f"The attacks used {attack_results.records} of the {rows} forget records, drawn by the seed. Some used fewer, see n.")
    return lines


def _gate(run: OpenedRun) -> list[str]:
    if not (gate := run.info.get("gate")):
        return []
    lines = []
    if (share := gate["forget_coverage"]) < 1:
        lines.append(f"The gate opens for {share:.0%} of the forget prompts as given. The model answers the other ones as before.")
    n, rate = gate["calibration_n"], f"{gate['alpha']:.0%}"
    if gate["lowered"]:
        lines.append(
            f"The gate could not be calibrated to a false positive rate of {rate}: "
            f"it opens for {gate['calibration_rate']:.0%} of {n} held-out prompts, prompt variants included."
        )
    elif gate["guaranteed"]:
        bound = f", and at most {gate['rate_bound']:.1%} with 95 % confidence" if "rate_bound" in gate else ""
        variants = "in all their variants" if gate.get("in_variants", True) else "as given, because in all variants recall would be lower"
        lines.append(
            f"The gate's threshold is calibrated on {n} held-out prompts, {variants}. "
            f"On such prompts the expected false positive rate is at most {rate}{bound}."
        )
    else:
        lines.append(f"The gate's threshold is calibrated on {n} held-out prompts, too few to guarantee a false positive rate of {rate}.")
    if gate.get("recall_n"):
        lines.append(f"It opens for {gate['recall']:.0%} of {gate['recall_n']} variants of forget prompts that it was not trained on.")
    return lines
