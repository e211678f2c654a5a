"""The schemas of the providers, rebuilt from the packages that CDKTF generated from those very providers.

A provider itself is a program (google's of 100 MB) that no package index carries. Its schema is in PyPI's `cdktf-cdktf-provider-…`:
names, nesting and list or set in each resource's `index.js`; what is required in the `.jsii` assembly; what the provider computes
in comments. What optional attributes the provider also computes is not said; `_FILLED_IN` names the usual ones.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGE = "cdktf-cdktf-provider-"
_FILLED_IN = frozenset({"id", "project", "region", "location", "zone", "etag", "self_link"})
_SIMPLE = {"string": "string", "number": "number", "boolean": "bool", "any": "string"}
_MEMBER = re.compile(
    r'(\w+): \{\s*value: ([^\n]*?),\s*isBlock: (true|false),\s*type: "(\w+)",\s*storageClassType: "(\w+)"', re.DOTALL
)
_COMPUTED = re.compile(
    r"// (\w+) - computed: true, optional: false, required: false\n\s+get \w+\(\) \{\s*return ([^;]*);"
)
_COMPUTED_BLOCK = re.compile(
    r'// (\w+) - computed: true, optional: false, required: false\n\s+this\._\w+ = new (\w+)\(this, "\w+"'
)
_GETTERS = (
    ("getNumberListAttribute", ["list", "number"]),
    ("getListAttribute", ["list", "string"]),
    ("getStringMapAttribute", ["map", "string"]),
    ("getNumberMapAttribute", ["map", "number"]),
    ("getBooleanMapAttribute", ["map", "bool"]),
    ("getAnyMapAttribute", ["map", "string"]),
    ("getNumberAttribute", "number"),
    ("getBooleanAttribute", "bool"),
)

Type = Any
"""A Terraform type in its JSON form: `"string"`, `["list", …]`, `["object", {…}]`."""


@dataclass
class Block:
    """Attributes and nested blocks of a resource, or of a block in one."""

    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    blocks: dict[str, dict[str, Any]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        nested = {name: {**block, "block": block["block"].plain()} for name, block in self.blocks.items()}
        return {"attributes": self.attributes, "blocks": nested}

    def type(self) -> Type:
        members: dict[str, Type] = {name: attribute["type"] for name, attribute in self.attributes.items()}
        for name, block in self.blocks.items():
            members[name] = ["set" if block["nesting"] == "set" else "list", block["block"].type()]
        return ["object", members]


def schema_of(provider: str, types: Iterable[str], unpacked: Path) -> dict[str, Any]:
    """A provider's schema and those of its resource types, in JSON. `unpacked` is where its package is laid out (once)."""
    root = _unpack(f"{PACKAGE}{provider}", unpacked)
    properties = _properties(json.loads((root / ".jsii").read_text(encoding="utf-8"))["types"])
    resources = {
        name: _File(root, name.removeprefix(f"{provider}_").replace("_", "-"), properties).block() for name in types
    }
    return {
        "provider": _File(root, "provider", properties).block().plain(),
        "resources": {name: block.plain() for name, block in resources.items()},
    }


def _archive(package: str) -> Path:
    for file in importlib.metadata.files(package) or ():
        if file.name.endswith(".jsii.tgz"):
            return Path(str(file.locate()))
    raise LookupError(f"{package} holds no .jsii.tgz; another version than infra/requirements/check.txt pins?")


def _unpack(package: str, target: Path) -> Path:
    if not (target / "package" / ".jsii").exists():
        with tarfile.open(_archive(package)) as archive:
            archive.extractall(target, filter="data")
    return target / "package"


def _properties(types: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, bool]]:
    """(namespace, type name) to property name to whether it is optional."""
    found: dict[tuple[str, str], dict[str, bool]] = {}
    for entry in types.values():
        listed = {one["name"]: bool(one.get("optional")) for one in entry.get("properties", ())}
        found.setdefault((str(entry.get("namespace", "")), entry["name"]), listed)
    return found


class _File:
    """One resource's `index.js`."""

    def __init__(self, root: Path, folder: str, properties: Mapping[tuple[str, str], Mapping[str, bool]]) -> None:
        path = root / "lib" / folder / "index.js"
        if not path.exists():
            raise LookupError(f"the provider has no resource that ends in _{folder.replace('-', '_')}")
        text = path.read_text(encoding="utf-8")
        first, *rest = folder.split("-")
        self._namespace = first + "".join(part.capitalize() for part in rest)
        self._properties = properties
        self._functions = {
            match[1]: match[2]
            for match in re.finditer(
                r"^function (\w+)ToHclTerraform\(struct\) \{(.*?)^\}", text, re.DOTALL | re.MULTILINE
            )
        }
        self._classes = {
            match[1]: (match[2], match[3])
            for match in re.finditer(r"^class (\w+) extends (cdktf\.\w+) \{\n(.*?)^\}", text, re.DOTALL | re.MULTILINE)
        }

    def block(self) -> Block:
        """The whole resource."""
        name, body = next(
            (name, body)
            for name, (base, body) in self._classes.items()
            if base in ("cdktf.TerraformResource", "cdktf.TerraformProvider")
        )
        match = re.search(r"synthesizeHclAttributes\(\) \{(.*?)^    \}", body, re.DOTALL | re.MULTILINE)
        block = self._block(match.group(1) if match else "", f"{name}Config", body)
        if "TerraformResource" in self._classes[name][0]:
            block.attributes.setdefault("id", _attribute("string", computed=True))
        return block

    def _block(self, source: str, type_name: str, body: str) -> Block:
        block = Block(attributes=self._computed(body))
        optional = self._properties.get((self._namespace, type_name), {})
        for name, value, is_block, kind, storage in _MEMBER.findall(source):
            member = re.search(r"(?:struct\.|this\._)(\w+)", value)
            is_optional = optional.get(member.group(1), True) if member else True
            nested = re.search(r"(\w+)ToHclTerraform", value)
            if nested and nested.group(1) in self._functions:
                self._nest(block, name, nested.group(1), value, kind, is_block=is_block == "true", optional=is_optional)
            else:
                block.attributes[name] = _attribute(
                    _type_of(storage, is_set=kind == "set"),
                    required=not is_optional,
                    optional=is_optional,
                    computed=is_optional and name in _FILLED_IN,
                )
        return block

    def _nest(
        self,
        outer: Block,
        name: str,
        function: str,
        value: str,
        kind: str,
        *,
        is_block: bool,
        optional: bool,
    ) -> None:
        type_name = function[0].upper() + function[1:]
        body = self._classes.get(f"{type_name}OutputReference", ("", ""))[1]
        inner = self._block(self._functions[function], type_name, body)
        many = "listMapper" in value or "hashMapper" in value
        nesting = "set" if kind == "set" else "list"
        if not is_block:
            outer.attributes[name] = _attribute(
                [nesting, inner.type()], required=not optional, optional=optional, computed=optional
            )
            return
        outer.blocks[name] = {
            "nesting": "single" if name == "timeouts" else nesting,
            "min": 0 if optional else 1,
            "max": 0 if many else 1,
            "block": inner,
        }

    def _computed(self, body: str) -> dict[str, dict[str, Any]]:
        found = {name: _attribute(_got(expression), computed=True) for name, expression in _COMPUTED.findall(body)}
        for name, list_class in _COMPUTED_BLOCK.findall(body):
            reference = re.search(r"return new (\w+OutputReference)\(", self._classes.get(list_class, ("", ""))[1])
            inner: Type = ["map", "string"]
            if reference and reference.group(1) in self._classes:
                members = self._computed(self._classes[reference.group(1)][1])
                inner = ["list", ["object", {key: attribute["type"] for key, attribute in members.items()}]]
            found[name] = _attribute(inner, computed=True)
        return found


def _attribute(
    type_: Type, *, required: bool = False, optional: bool = False, computed: bool = False
) -> dict[str, Any]:
    return {"type": type_, "required": required, "optional": optional, "computed": computed}


def _got(expression: str) -> Type:
    if "tolist" in expression:
        return ["set", "string"]
    return next((type_ for getter, type_ in _GETTERS if getter in expression), "string")


def _type_of(storage: str, *, is_set: bool) -> Type:
    """`stringListMap` is a map of lists of strings."""
    if storage in _SIMPLE:
        return _SIMPLE[storage]
    for suffix, kind in (("List", "list"), ("Map", "map"), ("Set", "set")):
        if storage.endswith(suffix):
            inner = storage.removesuffix(suffix)
            if inner in _SIMPLE or inner.endswith(("List", "Map", "Set")):
                return ["set" if is_set and kind == "list" else kind, _type_of(inner, is_set=False)]
    return "string"
