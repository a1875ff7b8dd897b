"""Registry: turn a name, or a mapping with a name and settings, into an instance of the data class that a table lists for it."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

Kind = TypeVar("Kind")


def make_named(what: str, table: Mapping[str, type[Kind]], given: Any) -> Kind:
    """Return an instance of a class in a table.

    Args:
        what: what the table holds ("objective"), for errors.
        table: name -> data class; the fields of the class are the settings.
        given: a name, or a mapping with `name` and settings.

    Raises:
        ValueError: there is no such name, or a setting is unknown, missing or of the wrong type. The message is one sentence.
    """
    settings: Any = {"name": given} if isinstance(given, str) else given
    if not isinstance(settings, dict) or "name" not in settings:
        raise ValueError(f"give the {what}'s name, or a mapping with its name and settings")
    settings = dict(settings)
    name = settings.pop("name")
    if not isinstance(name, str) or name not in table:
        raise ValueError(f"no {what} {name!r}; there are {', '.join(table)}")
    known = [field.name for field in fields(cast(Any, table[name]))]
    if unknown := {str(setting) for setting in settings} - set(known):
        raise ValueError(f"{name} has no setting {', '.join(sorted(unknown))}; it has {', '.join(known) or 'none'}")
    try:
        return TypeAdapter(table[name]).validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([name, *map(str, first["loc"])])
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error
