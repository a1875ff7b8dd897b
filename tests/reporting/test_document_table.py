"""The table by document: means, the share of open gates, and an end for a library of many documents."""

import pytest
from rich.console import Console

from expunge.reporting.document_table import SHOWN, document_lines, print_documents, table_cells


def row(name: str | None, rouge: float, gate: float | None = None, of_set: str = "forget") -> dict:
    document = {} if name is None else {"document": name}
    return {"set": of_set, "id": "x", "rouge": rouge, **document, **({} if gate is None else {"gate": gate})}


def test_the_means_of_each_document_by_hand():
    unlearned = [row("a", 0.2, 1.0), row("a", 0.4, -1.0), row("b", 0.9, 2.0), row(None, 1.0, 3.0), row("a", 1.0, 1.0, "retain")]
    original = [row("a", 1.0), row("a", 0.8), row("b", 1.0)]
    first, second = document_lines({"original": original, "unlearned": unlearned}, threshold=0.5)
    # The document that most is left of comes first.
    assert (first.name, first.n, first.gate_open, first.rouge) == ("b", 1, 1.0, {"original": 1.0, "unlearned": 0.9})
    assert (second.name, second.n, second.gate_open) == ("a", 2, 0.5)
    assert second.rouge == pytest.approx({"original": 0.9, "unlearned": 0.3})
    # Without a control there is no column for it.
    headings, cells = table_cells([first, second])
    assert headings == ["n", "ROUGE-L original", "ROUGE-L unlearned", "gate open"]
    assert cells[1] == ("a", ["2", "0.900", "0.300", "50%"])


def test_without_documents_there_is_no_table():
    assert document_lines({"original": [row(None, 1.0)], "unlearned": [row(None, 0.1)]}, 0.0) == []


def test_a_long_table_ends_with_the_number_of_documents_that_it_leaves_out():
    lines = document_lines({"unlearned": [row(f"d{i}", i / 100) for i in range(SHOWN + 7)]}, 0.0)
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as captured:
        print_documents(console, lines)
    assert "7 more documents are in audit.parquet" in captured.get()
    assert captured.get().count("\n") == SHOWN + 2
