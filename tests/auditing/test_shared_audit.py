"""An audit that two processes share gives the numbers of one, to the last bit, and is written once."""

import os
import re
import shutil
import subprocess
import sys

import expunge
from expunge.auditing import record_metrics
from expunge.console import Display
from expunge.models.shared_prompt_scoring import score_answers
from expunge.pipeline.unlearn import unlearn
from expunge.runs.folder import ATTACKED, AUDIT, MEASURED_ROWS

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
SCRIPT = """
import expunge.auditing.record_metrics as module
from expunge.cli.main import main

batches, score = [], module.score_answers
module.score_answers = lambda *args: batches.append(1) or score(*args)
try:
    main()
finally:
    print("batches", len(batches))
"""
ATTACKS = [{"name": "sampling", "samples": 2}, {"name": "prefill", "shares": [0.5]}, {"name": "quantise", "kind": "rtn4"}]


def test_two_processes_share_an_audit(make_recipe_for, tmp_path, monkeypatch):
    # In batches of two records, so that there are several batches to share.
    audit = {"max_new_tokens": 4, "batch_size": 2}
    run = unlearn(make_recipe_for("two", audit=audit, training={"epochs": 1, "batch_size": 3, "dtype": "fp32", "save_steps": 0}), Display())
    suite = tmp_path / "suite.yaml"
    suite.write_text("budget_seconds: 60\nmax_records: 4\nattacks:\n" + "".join(f"  - {attack}\n" for attack in ATTACKS))
    one = shutil.copytree(run.folder, tmp_path / "one")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-of-one"))
    batches: list[int] = []
    monkeypatch.setattr(record_metrics, "score_answers", lambda *args: batches.append(1) or score_answers(*args))
    expunge.audit(one, suite=str(suite))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache-of-two")}
    command = [*LAUNCH, str(script), "audit", str(run.folder), "--suite", str(suite), "--allow-fail", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Audited.") == 1
    for name in (AUDIT, MEASURED_ROWS, ATTACKED):
        assert (run.folder / name).read_bytes() == (one / name).read_bytes(), name
    shares = [int(count) for count in re.findall(r"batches (\d+)", done.stdout)]
    assert len(shares) == 2
    assert 0 < min(shares) <= max(shares) < len(batches) == sum(shares)
    assert "differs" not in {check.status for check in expunge.verify(run)}
