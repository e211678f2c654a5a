"""What each function's package holds, and that the same source gives the same bytes."""

from __future__ import annotations

import ast
import hashlib
import zipfile
from pathlib import Path

import pytest

from infra.imports import reach
from infra.package import FUNCTIONS, ROOT, make_zip, reach_of, requirements_of, stage_source

DATA_LIBRARIES = {"pyarrow", "polars", "numpy", "xlsxwriter", "defusedxml"}


def pins(function: str) -> set[str]:
    """Return the distributions that a function's package lists."""
    return {line.split("==")[0].split("[")[0] for line in requirements_of(function).splitlines() if "==" in line}


def tree(folder: Path, **files: str) -> Path:
    """Write modules of an invented project; `a__b` stands for `a/b.py`."""
    for name, text in files.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        (path.parent / "__init__.py").touch()
    return folder


def test_two_stagings_give_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for attempt in ("one", "two"):
        stage_source("refresh", tmp_path / attempt / "refresh")
        archive = make_zip(tmp_path / attempt / "refresh")
        digests.append(hashlib.sha256(archive.read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_a_zip_holds_neither_tests_nor_infra_nor_another_function(tmp_path: Path) -> None:
    stage_source("register", tmp_path / "register")
    with zipfile.ZipFile(make_zip(tmp_path / "register")) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"main.py", "functions", "shared"}
    assert {name for name in names if name.startswith("functions/")} == {
        "functions/__init__.py",
        "functions/register/__init__.py",
        "functions/register/main.py",
    }
    assert not [name for name in names if name.startswith("shared/client")]


def test_only_the_function_that_delivers_carries_data_libraries() -> None:
    assert pins("export") >= DATA_LIBRARIES
    assert pins("register") & DATA_LIBRARIES == set()
    assert pins("refresh") & DATA_LIBRARIES == set()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_carries_its_store_of_documents(function: str) -> None:
    assert "google-cloud-firestore" in pins(function)
    assert "shared.stores.firestore" in reach_of(function).modules


def test_export_carries_every_format_and_every_connectors_delivery() -> None:
    modules = set(reach_of("export").modules)
    deliveries = {
        f"shared.connectors.{path.parent.name}.delivery" for path in ROOT.glob("shared/connectors/*/delivery.py")
    }
    assert deliveries <= modules
    assert {
        f"shared.pipeline.formats.{name}" for name in ("delimited", "json_rows", "json_lines", "parquet", "spreadsheet")
    } <= modules


def test_export_carries_what_prepares_rows_and_not_the_client() -> None:
    modules = set(reach_of("export").modules)
    found = {path.stem for path in ROOT.glob("shared/pipeline/preparing/*.py")} - {"__init__"}
    assert {f"shared.pipeline.preparing.{name}" for name in found} <= modules
    assert "duckdb" in pins("export")
    assert not [name for name in modules if name.startswith("shared.client")]


def test_no_module_is_imported_by_a_name_put_together() -> None:
    """Such a name cannot be followed, so the module would be missing in the cloud."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in ROOT.glob("shared/**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("import_module")
        and any(isinstance(inner, ast.JoinedStr | ast.BinOp) for inner in node.args)
    ]
    assert found == []


def test_an_import_in_a_function_that_nobody_names_does_not_count(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        functions__one="from shared.thing import Thing\nThing().used()",
        shared__thing="class Thing:\n    def used(self):\n        import json\n    def unused(self):\n        import csv\n",
    )
    found = reach(root, "functions.one")
    assert found.foreign == {"json"}


def test_an_import_is_followed_through_a_property_and_a_text(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        functions__one="from shared.a import A\nprint(A().made)",
        shared__a="class A:\n    @property\n    def made(self):\n        return load('shared.b:B')\n",
        shared__b="import csv\nclass B: pass",
    )
    found = reach(root, "functions.one")
    assert "shared.b" in found.modules
    assert found.foreign == {"csv"}


def test_methods_that_a_foreign_base_class_calls_count(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        functions__one="from shared.a import A\nA()",
        shared__a="from requests import Adapter\nclass A(Adapter):\n    def send(self):\n        import csv\n",
    )
    assert reach(root, "functions.one").foreign == {"requests.Adapter", "csv"}


def test_a_variable_of_the_same_name_is_no_use_of_a_function(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        functions__one="from shared.a import go\ngo()",
        shared__a="def go():\n    heavy = 1\n    return heavy\ndef heavy():\n    import csv\n",
    )
    assert reach(root, "functions.one").foreign == frozenset()


def test_a_function_of_a_module_counts_only_for_those_who_import_the_module(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        functions__one="import shared.a\nfrom shared.b import other\nshared.a.B().since()\nother()",
        shared__a="class B:\n    def since(self):\n        import json\n",
        shared__b="from shared.c import C\ndef other():\n    import zlib\n",
        shared__c="C = 1\ndef since():\n    import csv\n",
    )
    assert reach(root, "functions.one").foreign == {"json", "zlib"}
