"""What a report's reader must know: what was not tried, what the numbers rest on."""

from expunge.auditing.attacks import ATTACKS
from expunge.config import Revealed
from expunge.config.recipe import Recipe
from expunge.data.set_names import FORGET
from expunge.edits import edit_of
from expunge.reporting.attack_tables import AttackResults
from expunge.reporting.html import Sample
from expunge.reveal_release.reveal.select import read_results
from expunge.runs.folder import REVEAL, Run

INFERENCE = "membership inference"


def notes(run: Run, samples: list[Sample], found: AttackResults | None) -> list[str]:
    """One line each.

    Args:
        run: an audited one.
        samples: none where texts were not kept.
        found: by attacks; none where there was no suite.
    """
    said = [*_not_tested(run, found)]
    if not samples:
        said.append(f"Questions and answers are left out; to see them: expunge audit {run.folder} --show-text")
    said += _gate(run)
    if run.recipe.data.retain is None:
        said.append(f"No retain set was given: the retain rows are {run.recipe.retain_source}.")
    if isinstance(run.recipe.data.forget, Revealed):
        judged = read_results(run.folder / REVEAL)["judged"]
        second = "no second oracle judged them" if judged is None else f"a second oracle finds {judged:.2f} in them"
        said.append(f"The forget rows are what the model itself revealed, found by an oracle; {second}.")
    if run.recipe.release is not None:
        said.append(f"The model is that of round {run.info['round']}; see rounds/ for what each round changed.")
    return said


def threats(recipe: Recipe) -> list[str]:
    """What the kind of edit means for who holds the weights."""
    if not edit_of(recipe).removable:
        return ["This edit changed the weights themselves: there is nothing beside them that could be left out."]
    return [
        f"This edit ({recipe.edit.name}) can be switched off by whoever holds the files: it is not evidence where weights are released."
    ]


def _not_tested(run: Run, found: AttackResults | None) -> list[str]:
    attacks = [attack for attack in ATTACKS.values() if edit_of(run.recipe).removable or not attack.removes_edit]
    left_out = [part for attack in attacks for part in attack.untested([] if found is None else found.of(attack.name))]
    if not any(name.startswith("mia_") for name in run.summary["unlearned"][FORGET]):
        left_out.append(INFERENCE)
    said = f"Not tested here: {', '.join(left_out)}." if left_out else "Every kind of attack that expunge has was tried."
    if found is None:
        return [said, f"To attack the models too: expunge audit {run.folder} --suite quick"]
    lines = [said]
    if found.records < (rows := run.info["data"]["forget"]["rows"]):
        lines.append(f"Attacks asked for {found.records} of the {rows} forget records, drawn by seed; some asked for fewer (n).")
    return lines


def _gate(run: Run) -> list[str]:
    if not (gate := run.info.get("gate")):
        return []
    lines = []
    if (share := gate["forget_coverage"]) < 1:
        lines.append(f"The gate opens for {share:.0%} of the forget prompts as they are given; the others are answered as before.")
    n, rate = gate["calibration_n"], f"{gate['alpha']:.0%}"
    if gate["lowered"]:
        passed = f"{gate['calibration_rate']:.0%}"
        lines.append(
            f"The gate could not be held to {rate} false positives: it opens for {passed} of {n} held-out prompts, dressed or not."
        )
    elif gate["guaranteed"]:
        most = f", at most {gate['rate_bound']:.1%} with 95 % confidence" if "rate_bound" in gate else ""
        tried = f"prompts like the {n} it was chosen on, in any variant that those were tried in"
        lines.append(f"The gate's threshold passes on average at most {rate} of {tried}{most}.")
    else:
        lines.append(f"The gate's threshold rests on {n} held-out prompts, too few to promise {rate} false positives.")
    return lines
