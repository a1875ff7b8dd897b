"""No source file opens a pickle, because reading one runs whatever code is in it."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "expunge"
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
CALLS = {"torch.load", "torch.hub.load", "torch.jit.load", "numpy.load", "np.load", "pd.read_pickle", "pandas.read_pickle"}
ARGUMENTS = {"weights_only", "allow_pickle", "pickle_module"}
LOADERS_OF_PEFT = {"load_peft_weights", "load_adapter"}
"""They open `adapter_model.bin` where there are no safetensors; `PeftModel.from_pretrained` calls the second."""


def findings(code: str) -> list[str]:
    """Return what in a source file could open a pickle, with line numbers."""
    found = []
    for node in ast.walk(ast.parse(code)):
        names: set[str] = set()
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            names = {str(node.module).split(".")[0]} & MODULES | {alias.name for alias in node.names} & LOADERS_OF_PEFT
            names |= {f"{node.module}.{alias.name}" for alias in node.names} & CALLS
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            names = {called} & (CALLS | {"PeftModel.from_pretrained", "PeftConfig.from_pretrained", "PeftModelForCausalLM.from_pretrained"})
            names |= {called.rpartition(".")[2]} & LOADERS_OF_PEFT | {str(keyword.arg) for keyword in node.keywords} & ARGUMENTS
        found += [f"line {node.lineno}: {name}" for name in sorted(names)]
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_file_opens_a_pickle(path):
    assert findings(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "model.load_adapter(folder, name)",
        "PeftModel.from_pretrained(model, folder)",
        "read(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_what_opens_a_pickle_is_recognised(code):
    assert findings(code)
