"""The notebook is run, cell by cell; the names that the documentation uses exist."""

import ast
import json
import re

import advmod
import pytest
from conftest import ROOT


def test_the_notebook_runs(monkeypatch, tmp_path):
    pytest.importorskip("torchvision")
    monkeypatch.chdir(tmp_path)
    cells = json.loads((ROOT / "examples/audit.ipynb").read_text())["cells"]
    names: dict[str, object] = {}
    last = None
    for cell in cells:
        if cell["cell_type"] == "code":
            tree = ast.parse(cell["source"])
            shown = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "audit.ipynb", "exec"), names)  # noqa: S102
            if shown is not None:
                last = eval(compile(ast.Expression(shown.value), "audit.ipynb", "eval"), names)  # noqa: S307
    assert names["result"].accuracy == 1 and "report.html" in last


def test_the_documentation_names_what_exists():
    text = (ROOT / "docs/python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                owner = {"advmod": advmod, "result": advmod.Audit}.get(node.value.id)
                assert owner is None or hasattr(owner, node.attr) or node.attr in ("report",), ast.unparse(node)


def test_every_public_name_is_documented():
    for name in advmod.__all__:
        value = getattr(advmod, name)
        if callable(value):
            assert value.__doc__, name
