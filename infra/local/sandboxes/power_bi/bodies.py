"""The members of request bodies with their types (Microsoft's swagger; `timeout` from refresh-dataset), checked closed.

Refusing an unknown member is the strict choice: what the service does with one is unverified.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .errors import invalid, not_imitated

Members = Mapping[str, str]
"""Member to type: `str`, `bool`, `int`, `time`, `rows` (checked elsewhere), a body's name, `[name]` for a list. `name*`: required.
`!name`: the service has it and the sandbox does not imitate it; only empty, it changes nothing."""

BODIES: Mapping[str, Members] = {
    "dataset": {
        "name*": "str", "defaultMode": "str", "tables*": "[table]", "relationships": "[relationship]", "!datasources": "",
    },
    "table": {
        "name*": "str", "columns*": "[column]", "isHidden": "bool", "description": "str",
        "!rows": "", "!measures": "", "!source": "",
    },
    "column": {
        "name*": "str", "dataType*": "str", "formatString": "str", "sortByColumn": "str", "dataCategory": "str",
        "isHidden": "bool", "summarizeBy": "str",
    },
    "relationship": {
        "name*": "str", "crossFilteringBehavior": "str",
        "fromTable*": "str", "fromColumn*": "str", "toTable*": "str", "toColumn*": "str",
    },
    "rows": {"rows*": "rows"},
    "refresh": {
        "notifyOption": "str", "type": "str", "commitMode": "str", "maxParallelism": "int", "retryCount": "int",
        "objects": "[object]", "applyRefreshPolicy": "bool", "effectiveDate": "time", "timeout": "str",
    },
    "object": {"table": "str", "partition": "str"},
    "queries": {"queries*": "[query]", "serializerSettings": "settings", "!impersonatedUserName": ""},
    "query": {"query*": "str"},
    "settings": {"includeNulls": "bool"},
}  # fmt: skip
_TYPES: Mapping[str, type] = {"str": str, "bool": bool, "int": int}


def check_body(kind: str, value: Any, at: str = "") -> dict[str, Any]:
    """The body if it is of this kind, with everything in it.

    Raises:
        VendorError: 400 naming the first member that is unknown, missing or of another type; 501 for one not imitated.
    """
    if not isinstance(value, dict):
        raise invalid(f"{at or 'The request'} is not an object")
    place = f"{at}." if at else ""
    types = {name.strip("!*"): member for name, member in BODIES[kind].items()}
    unknown = next((name for name in value if name not in types), None)
    if unknown is not None:
        raise invalid(f"Unknown member {json.dumps(place + unknown)}")
    for name in BODIES[kind]:
        if name.endswith("*") and name[:-1] not in value:
            raise invalid(f"{place}{name[:-1]} is required")
        if name.startswith("!") and value.get(name[1:]):
            raise not_imitated(place + name[1:])
    for name, content in value.items():
        _check(types[name], content, place + name)
    return value


def _check(kind: str, value: Any, at: str) -> None:
    if kind in ("", "rows"):
        return
    if kind.startswith("["):
        if not isinstance(value, list):
            raise invalid(f"{at} is not a list")
        for index, item in enumerate(value):
            check_body(kind[1:-1], item, f"{at}[{index}]")
    elif kind == "time":
        if not _is_time(value):
            raise invalid(f"{at} is not a date-time: {json.dumps(value)[:100]}")
    elif kind in BODIES:
        check_body(kind, value, at)
    elif not isinstance(value, _TYPES[kind]) or (kind == "int" and isinstance(value, bool)):
        raise invalid(f"{at} is not of type {kind}: {json.dumps(value)[:100]}")


def _is_time(value: Any) -> bool:
    try:
        datetime.fromisoformat(value)
    except (ValueError, TypeError):
        return False
    return True
