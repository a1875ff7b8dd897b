"""Read YAML within limits: plain values only, without what can grow beyond its text."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import yaml

from expunge.documents.text_files import MAX_DEPTH, MAX_DIGITS, find_fault, one_sentence, read_text
from expunge.errors import InputError, quoted

MAX_YAML_BYTES = 2**20
MAX_NODES = 50_000
"""Most texts, numbers, lists and mappings of a YAML file."""

_YAML = "tag:yaml.org,2002:"
_TAGS = {f"{_YAML}{name}" for name in ("null", "bool", "int", "float", "str", "timestamp", "seq", "map")}


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
        raise InputError(
            f"{where}: not valid YAML{line}: {one_sentence(', '.join(filter(None, (error.context, error.problem))))}"
        ) from error
    except yaml.YAMLError as error:
        raise InputError(f"{where}: not valid YAML: {one_sentence(error)}") from error


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
        if isinstance(value, str) and (fault := find_fault(value)):
            _refuse(node, f"a text {fault}")
        return value


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which writes a value that occurs twice twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _refuse(at: Any, problem: str, cause: Exception | None = None) -> NoReturn:
    raise yaml.constructor.ConstructorError(None, None, problem, at.start_mark) from cause
