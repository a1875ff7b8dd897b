"""The pages that are written while the docs are built."""

import importlib
import json
import re
from pathlib import Path

import pytest

EXTENSIONS = Path(__file__).parents[2] / "docs" / "_ext"


@pytest.fixture(autouse=True)
def _extensions(monkeypatch):
    monkeypatch.syspath_prepend(str(EXTENSIONS))


def test_a_flowchart_has_a_box_for_each_node_and_a_line_for_each_arrow():
    svg = importlib.import_module("flowchart_svg").svg(["flowchart TD", "a[Records] --> b[Splits<br>& cache] --> c", "a --> c"])
    assert svg.count("<rect") == 3
    assert svg.count("marker-end") == 3
    assert re.findall(r"<text[^>]*>([^<]*)", svg) == ["Records", "Splits", "&amp; cache", "c"]


def test_a_node_stands_below_what_points_to_it_and_as_low_as_its_arrows_allow():
    ranked = importlib.import_module("flowchart_svg").ranked
    # a -> b -> c -> d, and e -> d: e stands beside c, not at the top.
    labels = {name: [name] for name in "abcde"}
    assert ranked(labels, [("a", "b"), ("b", "c"), ("c", "d"), ("e", "d")]) == {"a": 0, "b": 1, "c": 2, "d": 3, "e": 2}


def test_a_flowchart_that_is_not_understood_is_an_error():
    with pytest.raises(ValueError, match="not understood"):
        importlib.import_module("flowchart_svg").svg(["a -.-> b"])


def test_a_notebook_shows_what_its_cells_print_and_their_last_value(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {"cell_type": "code", "source": ["x = 2\n", "print('printed')\n", "x + 1"]},
        {"cell_type": "code", "source": ["x = 5"]},
    ]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": cells}))
    text = importlib.import_module("notebook").run(tmp_path / "n.ipynb")
    assert text == "# Title\n\n```python\nx = 2\nprint('printed')\nx + 1\n```\n\n```text\nprinted\n3\n```\n\n```python\nx = 5\n```\n"


def test_a_notebook_with_an_error_ends_the_build(tmp_path):
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": [{"cell_type": "code", "source": ["1 / 0"]}]}))
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("notebook").run(tmp_path / "n.ipynb")


def test_the_notebook_is_committed_without_output():
    notebook = json.loads((EXTENSIONS.parent / "tutorials" / "python.ipynb").read_text(encoding="utf-8"))
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook["cells"])


def test_the_settings_page_has_every_section_with_its_defaults():
    page = importlib.import_module("generated").settings_page()
    assert "## training\n" in page
    assert "## data.forget.reveal\n" in page
    assert "| `max_grad_norm` |" in page
    assert re.search(r"\| `batch_size` \|[^|]*\| `16` \| `int` \|", page)


def test_the_command_page_has_every_command_and_its_options():
    from expunge.cli.main import app

    page = importlib.import_module("generated").cli_page()
    for command in app.registered_commands:
        assert f"## expunge {command.name}\n" in page
    assert "| `--suite` |" in page


def test_the_choices_page_has_every_row_of_the_tables():
    from expunge.auditing.attacks import ATTACKS
    from expunge.edits import EDITS
    from expunge.metrics import METRICS
    from expunge.objectives import OBJECTIVES
    from expunge.oracles import ORACLES
    from expunge.tasks import TASKS

    page = importlib.import_module("generated").choices_page()
    for name in (*EDITS, *OBJECTIVES, *ATTACKS, *ORACLES, *TASKS, *METRICS):
        assert f"| `{name}` |" in page


def test_every_module_of_the_api_page_can_be_imported():
    generated = importlib.import_module("generated")
    for modules in generated.API.values():
        for module in modules:
            importlib.import_module(module)
