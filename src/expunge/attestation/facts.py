"""Collect all facts of an attestation from a run folder that was just audited."""

import os
import platform
from pathlib import Path

import torch

from expunge.attestation import facts_audit, facts_data, facts_method
from expunge.attestation.details import AttestationDetails
from expunge.attestation.hashes import hash_files, hmac_files
from expunge.attestation.schema import SCHEMA_VERSION, Environment, Facts, Previous, Request, Tool
from expunge.files import utc_now
from expunge.reveal_release.reveal.private_files import KEY
from expunge.runs.folder import AUDIT, AUDIT_ROWS, VERDICT, versions
from expunge.runs.loaded import OpenedRun
from expunge.runs.splits import Splits
from expunge.version import __version__


def collect_facts(
    run: OpenedRun, splits: Splits, key: bytes, request: Request, previous: Previous | None, details: AttestationDetails
) -> Facts:
    """Return all facts of a run's attestation.

    Args:
        run: an audited run.
        splits: the run's records.
        key: the key of its HMACs.
        request: the request to forget.
        previous: the run's earlier attestation.
        details: what the user adds.

    Raises:
        InputError: if a file of the run does not have the content that expunge writes.
    """
    recipe = run.recipe
    metrics, attacks = facts_audit.metrics(run.folder / AUDIT), facts_audit.attacks(run.folder / VERDICT)
    summaries = [path for path in (run.folder / AUDIT, run.folder / VERDICT) if path.exists()]
    hashed = {file.path: file for file in hash_files(summaries, run.folder)}
    return Facts(
        schema_version=SCHEMA_VERSION,
        created_utc=utc_now(),
        tool=Tool(name="expunge", version=__version__),
        environment=environment(run),
        request=request,
        not_given=[f"request.{name}" for name, value in request if value is None],
        key_sha256=hash_files([run.folder / KEY])[0].sha256,
        recipe=hmac_files([run.folder / "recipe.yaml"], key, run.folder)[0],
        reading=facts_data.reading(run),
        forget=facts_data.forget(recipe, splits.given_forget, key),
        counts=facts_data.counts(recipe, splits),
        excluded=facts_data.excluded(run, splits),
        retain=facts_data.retain(run, splits),
        revealed=facts_data.revealed_sets(run, key),
        self_generated=hash_files(facts_data.self_generated(run), run.folder),
        audit_sets=facts_data.audit_sets(recipe, key),
        base=facts_method.base(run),
        edit=facts_method.edit(run),
        control=facts_method.control(run),
        method=recipe.method,
        hyperparameters=facts_method.hyperparameters(recipe),
        seeds={"training": recipe.training.seed},
        rounds=facts_method.rounds(run),
        stop_reason=facts_method.stop_reason(run),
        threat_model=sorted({row.threat for row in attacks.rows if row.threat}) if attacks else [],
        audit=hashed[AUDIT],
        audit_rows=hmac_files([path for name in AUDIT_ROWS if (path := run.folder / name).exists()], key, run.folder),
        verdict=hashed.get(VERDICT),
        metrics=metrics,
        attacks=attacks,
        lm_eval=details.lm_eval,
        not_tested=facts_audit.not_tested(metrics, attacks),
        limitations=facts_audit.limitations(run),
        previous=previous,
        follows=details.follows,
    )


def environment(run: OpenedRun) -> Environment:
    """Return machine and packages of the audit, and the packages that the training started with."""
    packages = versions()
    return Environment(
        python=packages.pop("python"),
        packages=packages,
        trained_with=run.info["versions"],
        cpu=_cpu(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        threads=torch.get_num_threads(),
        dtype=_dtypes(run),
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )


def _dtypes(run: OpenedRun) -> str:
    """Return in which dtypes the run was trained and audited, and where, and whether the base model is quantised."""
    computed = (run.recipe.release.module if run.recipe.release else run.recipe.training).dtype
    placed = [(when, run.info.get(field)) for when, field in (("trained", "placement"), ("audited", "audit_placement"))]
    places = [f"{when} with weights in {place['dtype']} on {place['device']}" for when, place in placed if place]
    quantised, stored = run.recipe.quantise, run.info["model"].get("stored_in")
    forms = [] if quantised is None else [f"linear layers of the base model quantised to {quantised} while it was loaded"]
    forms += [] if stored is None else [f"the base model is stored in {stored}"]
    return "; ".join([*places, *forms, f"training computes in {computed}"])


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"
