"""Read YAML and JSON that anybody may have written: with limits on size, depth and digits, and one sentence for every fault."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from expunge.errors import InputError, quoted
from expunge.files import MAX_DOCUMENT_BYTES, open_regular

MAX_YAML_BYTES = 2**20
MAX_DEPTH = 64
"""Most lists and mappings inside each other."""
MAX_NODES = 50_000
"""Most texts, numbers, lists and mappings of a YAML file."""
MAX_DIGITS = 18
"""Most digits of an integer: it fits into 64 bits. A longer one is a mistake, or takes minutes to convert."""

Schema = TypeVar("Schema")


class Closed(BaseModel):
    """Base class of a schema that knows all its fields: an unknown one is an error, and so is a number that is not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


_YAML = "tag:yaml.org,2002:"
_TAGS = {f"{_YAML}{name}" for name in ("null", "bool", "int", "float", "str", "timestamp", "seq", "map")}
# JSON in which a number may overflow or a text may hold half a surrogate pair. All other JSON needs no second look.
_SUSPICIOUS = re.compile(r"\\u[dD][89a-fA-F]|[eE]\+?\d{3}|\d{300}")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; an empty file is an empty mapping.

    Raises:
        InputError: it cannot be read, goes beyond a limit, or is not a mapping.
    """
    given = parse_yaml(read_text(path, MAX_YAML_BYTES), str(path))
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InputError(f"{path}: must be a mapping, this is a {type(given).__name__}")
    return given


def parse_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML text: of texts, numbers, dates, lists, and mappings whose names are texts.

    Args:
        text: the YAML.
        where: the beginning of an error's message: the file, or the setting.

    Raises:
        InputError: it is not YAML, goes beyond a limit, or uses an alias, a merge key or an unknown tag.
    """
    return _loaded(text, where, lambda loader: loader.get_single_data())


def _loaded(text: str, where: str, load: "Callable[[_Loader], Any]", tags: frozenset[str] = frozenset()) -> Any:
    try:
        return load(_Loader(text, tags))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "" if mark is None else f" (line {mark.line + 1})"
        raise InputError(f"{where}: not valid YAML{line}: {_sentence(', '.join(filter(None, (error.context, error.problem))))}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{where}: not valid YAML: {_sentence(error)}") from error


def check_yaml(path: str | Path, tags: frozenset[str]) -> None:
    """Check a YAML file that another library will read; errors are those of `read_yaml`.

    Args:
        path: the file.
        tags: further tags that this library reads, such as `!function`.
    """
    _loaded(read_text(path, MAX_YAML_BYTES), str(path), lambda loader: loader.get_single_node(), tags)


def yaml_text(value: Any) -> str:
    """Return plain values as YAML text that `parse_yaml` reads: in the order given, without aliases."""
    dump = partial(yaml.dump, value, Dumper=_Dumper, sort_keys=False)
    text = dump(allow_unicode=True)
    # PyYAML writes U+0085 without an escape but reads it as a line break.
    return dump() if "\x85" in text else text


def read_json(path: str | Path, schema: type[Schema] | None = None, limit: int = MAX_DOCUMENT_BYTES) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        schema: a pydantic model, or a type such as `dict[str, float]`, that the content must fit; None: any JSON.
        limit: the most bytes of the file.

    Returns:
        An instance of the schema, or plain values without one.

    Raises:
        InputError: it cannot be read, goes beyond a limit, or does not fit the schema; the message names the field.
    """
    value = parse_json(read_text(path, limit), str(path))
    return value if schema is None else checked(value, schema, str(path))


def read_json_lines(path: str | Path, schema: type[Schema]) -> list[Schema]:
    """Read a file of one JSON value a line, without a last line that a kill cut short; errors are those of `read_json`."""
    # Split as bytes, because a kill may have cut a character, and at line feeds alone: JSON leaves other line ends unescaped.
    lines = read_bytes(path).split(b"\n")[:-1]
    named = [(f"{path}:{number}", line) for number, line in enumerate(lines, 1)]
    return [checked(parse_json(_decoded(line, where), where, "the line"), schema, where) for where, line in named]


def parse_json(text: str, where: str, what: str = "the file", max_digits: int = MAX_DIGITS) -> Any:
    """Return the value of a JSON text, in which every number is finite and no field appears twice.

    Args:
        text: the JSON.
        where: the beginning of an error's message: the file, and the line if there are several.
        what: what the text is, for errors.
        max_digits: the most digits of an integer.

    Raises:
        InputError: it is not such JSON, or is nested too deeply.
    """
    try:
        # A short text can hold no long integer, and a hook for integers takes time.
        integer = partial(_integer, max_digits) if len(text) > max_digits else None
        value = json.loads(text, object_pairs_hook=partial(_object, where), parse_int=integer)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: {what} is not valid JSON ({error.msg} at character {error.pos + 1})") from error
    except RecursionError as error:
        raise InputError(f"{where}: {what} is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"{where}: {what} holds a number with too many digits") from error
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise InputError(f"{where}: {what} is nested too deeply")
    if "NaN" in text or "Infinity" in text or _SUSPICIOUS.search(text):
        for field, part in _parts(value):
            if fault := _fault(part):
                raise InputError(f"{where}: {f'field {quoted(field)}' if field else what} {fault}")
    return value


def checked(value: Any, schema: type[Schema], where: str) -> Schema:
    """Return a value as an instance of a pydantic model or a type; raise `InputError` with the field that does not fit."""
    try:
        return TypeAdapter(schema).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "all of it"
        raise InputError(f"{where}: {_sentence(field)}: {first['msg'].removeprefix('Value error, ')}") from error


def read_bytes(path: str | Path, limit: int = MAX_DOCUMENT_BYTES) -> bytes:
    """Read a regular file; raise `InputError` if it cannot be read or is larger than `limit` bytes."""
    with open_regular(Path(path), limit, follow=True) as file:
        # It may have grown since its size was checked.
        return file.read(limit)


def read_text(path: str | Path, limit: int = MAX_DOCUMENT_BYTES) -> str:
    """Read a regular file of UTF-8 text, with or without a byte order mark.

    Raises:
        InputError: it cannot be read, is no regular file, is larger than `limit` bytes, or is not UTF-8.
    """
    return _decoded(read_bytes(path, limit), str(path))


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader for a closed part of YAML: what can grow beyond its text, or run anything, is refused."""

    def __init__(self, text: str, tags: frozenset[str]):
        super().__init__(text)
        self.tags = _TAGS | tags
        self.nodes = self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            _refuse(event, f"aliases such as *{event.anchor} are not read; write the value itself")
        self.nodes, self.depth = self.nodes + 1, self.depth + 1
        if self.nodes > MAX_NODES:
            _refuse(event, f"it holds more than {MAX_NODES} values")
        if self.depth > MAX_DEPTH:
            _refuse(event, "it is nested too deeply")
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is not None and node.tag not in self.tags and node.tag != f"{_YAML}merge":
            _refuse(node, f"the tag {node.tag.replace(_YAML, '!!')} is not read; leave it out, or put the text in quotes")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        names = set[str]()
        for name, _ in node.value:
            if name.tag == f"{_YAML}merge":
                _refuse(name, "merge keys (<<) are not read; write the settings themselves")
            if name.tag != f"{_YAML}str" or not isinstance(name, yaml.ScalarNode):
                _refuse(name, "a name is not a text; put it in quotes")
            if name.value in names:
                _refuse(name, f"the name {quoted(name.value)} appears twice")
            names.add(name.value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = node.tag.removeprefix(_YAML)
        if kind in ("int", "float") and isinstance(node, yaml.ScalarNode) and len(node.value) > 2 * MAX_DIGITS:
            _refuse(node, "a number has too many digits")
        try:
            value = super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
            _refuse(node, f"{quoted(str(node.value))} is not a valid {'date' if kind == 'timestamp' else kind}", error)
        if isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
            _refuse(node, "a number has too many digits")
        if isinstance(value, str) and (fault := _fault(value)):
            _refuse(node, f"a text {fault}")
        return value


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which writes a value that occurs twice twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _refuse(at: Any, problem: str, cause: Exception | None = None) -> NoReturn:
    raise yaml.constructor.ConstructorError(None, None, problem, at.start_mark) from cause


def _object(where: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise InputError(f"{where}: field {quoted(twice)} appears twice")
    return fields


def _integer(max_digits: int, digits: str) -> int:
    if len(digits.removeprefix("-")) > max_digits:
        raise ValueError("too many digits")
    return int(digits)


def _fault(value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "is NaN" if math.isnan(value) else "is an infinite number"
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "holds half a UTF-16 surrogate pair, which is no character"
    return None


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [part for one in level if isinstance(one, dict | list) for part in (one.values() if isinstance(one, dict) else one)]:
        depth += 1
    return depth + 1


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield (nearest field, value) of a value and of everything in it, texts that are names included."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        field, part = waiting.pop()
        yield field, part
        if isinstance(part, dict):
            yield from ((field, name) for name in part)
            waiting.extend(part.items())
        elif isinstance(part, list):
            waiting.extend((field, item) for item in part)


def _sentence(text: object) -> str:
    """Return a text of a library as part of one line."""
    return " ".join(str(text).split())


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "not UTF-8"
        raise InputError(f"{where}: cannot be read: it is {kind} (byte {error.start + 1}); save it as UTF-8") from error
