"""Read YAML and JSON that anybody may have written: with limits on size, depth and digits, and one sentence for every fault."""

from expunge.documents.json_files import Closed, checked, parse_json, read_json, read_json_lines
from expunge.documents.text_files import one_sentence, read_bytes, read_text
from expunge.documents.yaml_files import check_yaml, parse_yaml, read_yaml, yaml_text

__all__ = [
    "Closed",
    "check_yaml",
    "checked",
    "one_sentence",
    "parse_json",
    "parse_yaml",
    "read_bytes",
    "read_json",
    "read_json_lines",
    "read_text",
    "read_yaml",
    "yaml_text",
]
