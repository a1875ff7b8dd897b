"""Write the generated reference pages: CLI, settings, choices, API modules, and the executed notebooks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import typer
from notebook import executed

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FOLDER = "reference/generated"
API = {
    "expunge": ["expunge"],
    "Errors": ["expunge.errors"],
    "Runs": ["expunge.runs.folder"],
    "Models and prompts": ["expunge.models.loading", "expunge.models.scoring", "expunge.models.generation", "expunge.data.prompts"],
    "Several requests": ["expunge.edits.requests"],
    "Objectives": ["expunge.objectives.base"],
    "Oracles": ["expunge.oracles.base"],
    "Metrics": [
        "expunge.metrics.likelihood",
        "expunge.metrics.text",
        "expunge.metrics.gate",
        "expunge.metrics.membership",
        "expunge.metrics.leak",
        "expunge.metrics.lens",
        "expunge.metrics.neighbours",
        "expunge.metrics.statistics",
    ],
    "Attestation": ["expunge.attestation"],
}
"""Modules of the API reference, by the title of their part."""
PACKAGES = ("expunge", "expunge.attestation")
"""Those of them whose `__all__` names what they import from their own modules."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages when a build starts, and escape docstrings."""
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-skip-member", skip_constants)
    # Before napoleon, whose priority is 500.
    app.connect("autodoc-process-docstring", escape, priority=400)
    return {"parallel_read_safe": True}


def write_pages(app: Sphinx) -> None:
    """Write each generated page where its contents have changed."""
    pages = {
        f"{FOLDER}/cli.md": cli_page(),
        f"{FOLDER}/settings.md": settings_page(),
        f"{FOLDER}/choices.md": choices_page(),
        f"{FOLDER}/api.rst": api_page(),
    }
    for source in sorted((Path(app.srcdir) / "tutorials").glob("*.ipynb")):
        pages[f"tutorials/generated/{source.stem}.md"] = executed(source, Path(app.srcdir) / "_build" / "notebooks")
    for name, text in pages.items():
        path = Path(app.srcdir) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def skip_constants(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave a module's constants out of the API page."""
    return True if what == "module" and not callable(obj) else None


def escape(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Prevent that reStructuredText and napoleon misread docstrings: `|` and `*` as markup, `Status: text` of a property as a type."""
    if what in ("property", "data") and lines:
        lines[0] = lines[0].replace(": ", " \u2013 ")
    for number, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [part.replace("|", r"\|").replace("*", r"\*") for part in parts[::2]]
        lines[number] = "`".join(parts)


def cli_page() -> str:
    """Return the page of all commands, from the typer app."""
    from expunge.cli.main import app

    group = typer.main.get_command(app)
    parts = ["# Command line", "Exit codes: 0 done, 1 the work failed, 2 the input is wrong, 130 interrupted."]
    for name, command in group.commands.items():
        parts += [f"## expunge {name}", plain(command.help), f"    {usage(name, command)}"]
        if command.epilog:
            parts.append(f"{command.epilog.partition(':')[0]}:\n\n    {command.epilog.partition(': ')[2]}")
        parts.append(table(["argument or option", "meaning", "default"], [parameter_row(parameter) for parameter in command.params]))
    return "\n\n".join(part for part in parts if part) + "\n"


def usage(name: str, command: Any) -> str:
    """Return one line such as `expunge audit RUN [OPTIONS]`."""
    arguments = [argument_name(parameter) for parameter in command.params if parameter.param_type_name == "argument"]
    return " ".join(["expunge", name, *arguments, "[OPTIONS]"])


def argument_name(parameter: Any) -> str:
    """Return an argument as a usage line has it: `RUN`, `[TO]`, `RUNS…`."""
    name = parameter.name.upper() + "…" * (parameter.nargs == -1)
    return name if parameter.required else f"[{name}]"


def parameter_row(parameter: Any) -> list[str]:
    """Return name, help and default of an argument or option."""
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.param_type_name == "argument":
        names = f"`{argument_name(parameter)}`"
    default = "required" if parameter.required else "" if parameter.default is False else plain_value(parameter.default)
    return [names, plain(getattr(parameter, "help", "")), default]


def settings_page() -> str:
    """Return the page of every setting of a recipe, section by section, from the schema."""
    from expunge.config.recipe import Recipe

    parts = [
        "# Settings",
        "Every setting of a recipe, generated from the schema. Write `training.lr=1e-3` on the command line, "
        '`training: {lr: 1e-3}` in YAML and `training={"lr": 1e-3}` in Python. `expunge ls settings` prints the same.',
    ]
    for title, rows in sections("", Recipe):
        parts += [f"## {title or 'Top level'}", table(["setting", "meaning", "default", "type"], rows)]
    return "\n\n".join(parts) + "\n"


def sections(prefix: str, section: type[Any]) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield each section's dotted name and its rows; sections inside it follow."""
    from expunge.config.section import Section

    rows, inner_sections = [], []
    for name, field in section.model_fields.items():
        kinds = get_args(field.annotation) or (field.annotation,)
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]
        inner_sections += [(f"{prefix}{name}.", kind) for kind in inner]
        if len(inner) < len(kinds):
            default = "required" if field.is_required() else plain_value(field.get_default(call_default_factory=True))
            rows.append([f"`{name}`", plain(field.description), default, kind_name(field.annotation)])
    if rows:
        yield prefix.rstrip("."), rows
    for name, kind in inner_sections:
        yield from sections(name, kind)


def kind_name(annotation: Any) -> str:
    """Return a type as a reader writes it: `int | None`, or the allowed values."""
    text = inspect.formatannotation(annotation).replace("typing.", "")
    if text.startswith("Literal["):
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    return "" if "Any" in text or "expunge" in text or "Literal" in text else f"`{text}`"


def choices_page() -> str:
    """Return the page of all that can be chosen by name, with its settings."""
    from expunge.auditing.attacks import ATTACKS
    from expunge.edits import descriptions
    from expunge.metrics import METRICS
    from expunge.objectives import OBJECTIVES
    from expunge.oracles import ORACLES
    from expunge.tasks import TASKS

    parts = ["# Choices by name", "All that a recipe or a suite chooses by name, generated from the tables of the code."]
    parts += ["## Edits", table(["name", "what it is"], [[f"`{name}`", plain(text)] for name, text in descriptions().items()])]
    for title, choices in {"Objectives": OBJECTIVES, "Attacks": ATTACKS, "Oracles": ORACLES, "Tasks": TASKS}.items():
        rows = [[f"`{name}`", first_line(cls), defaults(cls)] for name, cls in choices.items()]
        parts += [f"## {title}", table(["name", "what it is", "settings and defaults"], rows)]
    metrics = [[f"`{name}`", one.label, one.definition, one.on_forget or "", one.elsewhere or ""] for name, one in METRICS.items()]
    parts += ["## Metrics", table(["name", "label", "what it is", "better on a forget set", "better elsewhere"], metrics)]
    return "\n\n".join(parts) + "\n"


def first_line(cls: type[Any]) -> str:
    """Return the first line of a class's docstring; for a class without one, that of its module."""
    written = cls.__doc__ if cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}(") else inspect.getmodule(cls).__doc__
    return plain((written or "").strip().partition("\n")[0])


def defaults(cls: type[Any]) -> str:
    """Return the settings of a data class with their defaults."""
    if not is_dataclass(cls):
        return ""
    return ", ".join(f"`{one.name}`" if one.default is MISSING else f"`{one.name}: {yaml_value(one.default)}`" for one in fields(cls))


def yaml_value(value: Any) -> Any:
    """Return a default as YAML has it."""
    return list(value) if isinstance(value, tuple) else "null" if value is None else value


def api_page() -> str:
    """Return the page that documents the modules of the Python API, for autodoc."""
    lines = ["Python API", "==========", "", "Names and defaults are those of the recipe. Tensors' shapes stand in the docstrings.", ""]
    for title, modules in API.items():
        lines += [title, "-" * len(title), ""]
        for module in modules:
            lines += [f"``{module}``", "~" * (len(module) + 4), "", f".. automodule:: {module}"]
            lines += ["   :imported-members:", ""] if module in PACKAGES else [""]
    return "\n".join(lines)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; nothing where there are no rows."""
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in line) + " |" for line in lines)


def plain(text: str | None) -> str:
    """Return help text as one line that Markdown does not read as HTML or emphasis."""
    return " ".join((text or "").split()).replace("<", "&lt;").replace("*", r"\*")


def plain_value(value: Any) -> str:
    """Return a default as code; nothing for none."""
    if value is None or value == () or callable(value):
        return ""
    if is_dataclass(value):
        return f"`{type(value).__name__}`"
    return f"`{list(value) if isinstance(value, tuple) else value}`"
