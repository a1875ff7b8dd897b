"""What is printed: progress in a log as lines instead of bars, and no text that controls the terminal."""

import io
import logging

import pytest
from rich.table import Table
from rich.text import Text

from expunge.console import Display, LineFormatter, SafeConsole, one_line, visible


def lines_of(work) -> list[str]:
    output = io.StringIO()
    work(Display(SafeConsole(file=output, width=100)))
    return output.getvalue().splitlines()


def test_a_bar_in_a_log_is_a_line_at_the_start_and_one_at_the_end():
    def work(display: Display) -> None:
        with display.bar("Scoring", 3) as advance:
            advance(1)
            advance(2)

    assert lines_of(work) == ["Scoring ...", "Scoring: 3 of 3"]


def test_a_total_may_become_known_later():
    def work(display: Display) -> None:
        with display.bar("Reading", None) as bar:
            bar(1)
            bar.expect(1)
            bar(1)

    assert lines_of(work) == ["Reading ...", "Reading: 2 of 2"]


def test_a_long_step_reports_the_time_left(monkeypatch):
    monkeypatch.setattr("expunge.console.LINE_SECONDS", -1)

    def work(display: Display) -> None:
        with display.bar("Scoring", 10) as advance:
            advance(1)
            advance(1)

    assert lines_of(work)[2].startswith("Scoring: 2 of 10, ")
    assert lines_of(work)[2].endswith(" s left")


HOSTILE = {
    "a colour": ("\x1b[31mred", "<U+001B>[31mred"),
    "a link": ("\x1b]8;;http://example.org\x07here", "<U+001B>]8;;http://example.org<U+0007>here"),
    "a title": ("\x9d0;title\x9c", "<U+009D>0;title<U+009C>"),
    "a line that is written over": ("bad\rgood", "bad<U+000D>good"),
    "backspaces": ("bad\b\b\bgood", "bad<U+0008><U+0008><U+0008>good"),
    "a reversed line": ("runs/\u202egpj.exe", "runs/<U+202E>gpj.exe"),
    "an isolate": ("\u2066a\u2069", "<U+2066>a<U+2069>"),
    "a character without width": ("runs\u200b/a\ufeff", "runs<U+200B>/a<U+FEFF>"),
    "a line separator": ("a\u2028expunge: ok\u2029", "a<U+2028>expunge: ok<U+2029>"),
    "half a surrogate pair": ("\ud800", "<U+D800>"),
    "markup": ("[red]a[/x]", "[red]a[/x]"),
    "an emoji code": ("a:bomb:b", "a:bomb:b"),
}


def printed(work) -> str:
    output = io.StringIO()
    work(SafeConsole(file=output, width=200, force_terminal=True, color_system=None))
    return output.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_printed_line_is_one_line_of_visible_characters(name):
    text, shown = HOSTILE[name]
    assert printed(lambda console: console.print_line(text)) == shown + "\n"
    assert printed(lambda console: Display(console).print(text)) == shown + "\n"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_text_in_a_table_or_alone_is_visible_even_where_it_was_not_escaped_before(name):
    text, _ = HOSTILE[name]
    table = Table(title=Text(text), caption=Text(text))
    table.add_column(Text(text))
    table.add_row(Text(text))
    for renderable in (table, Text(text), Text(text, style="bold")):
        out = printed(lambda console, shown=renderable: console.print(shown))
        assert visible(out) == out


@pytest.mark.parametrize("name", HOSTILE)
def test_a_progress_bar_shows_its_title_visibly(name):
    text, shown = HOSTILE[name]

    def work(display: Display) -> None:
        with display.bar(text, 2) as advance:
            advance(2)

    assert lines_of(work) == [f"{shown} ...", f"{shown}: 2 of 2"]
    # On a terminal the bar moves the cursor itself; the title adds nothing to that.
    on_a_terminal = [printed(lambda console, title=title: bar_of(console, title)) for title in ("title", text)]
    assert on_a_terminal[0].count("\x1b") == on_a_terminal[1].count("\x1b")


def bar_of(console: SafeConsole, title: str) -> None:
    with Display(console).progress() as progress:
        progress.add_task(title, total=2)


def test_a_log_message_is_one_visible_line():
    record = logging.LogRecord("a", logging.WARNING, "", 0, "file %s\nnext", ("\x1b[2J",), None)
    assert LineFormatter().format(record) == "file <U+001B>[2J next"


def test_line_ends_in_a_name_are_shown():
    assert one_line("a\nexpunge: ok\tb") == "a<U+000A>expunge: ok\tb"


def test_scripts_that_need_joiners_keep_them():
    text = "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u0915\u094d\u200d\u0937 \u65e5\u672c\u8a9e"
    assert visible(text) == text
