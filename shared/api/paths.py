"""The form of what stands in paths: checked by dispatch, told by the API description. Anything else is a path that is not there."""

from __future__ import annotations

from werkzeug.routing import BaseConverter

from shared.api.routes import API
from shared.models import RESERVED_NAMES

CONNECTOR = rf"(?!(?:{'|'.join(sorted(RESERVED_NAMES))})(?:/|$))[a-z][a-z0-9_-]{{0,62}}"
"""A connector's or a channel's name: no word of the API's own paths."""
ID = r"[a-z0-9][a-z0-9-]{0,63}"
TABLE = r"[A-Za-z0-9][A-Za-z0-9 _-]{0,99}"
CODE = r"[a-z0-9_]{1,63}"
PATTERNS = {
    f"{API}/tables/": f"^{TABLE}$",
    f"{API}/channels/": f"^{CONNECTOR}$",
    "/problems/": f"^{CODE}$",
    f"{API}/export-jobs/": f"^{ID}$",
    "/files/": f"^{ID}$",
    f"{API}/refresh-runs/": f"^{ID}$",
    f"{API}/schedules/": f"^{ID}$",
    f"{API}/": f"^{CONNECTOR}$",
}
"""Start of a path to the pattern of the parameter right behind it; the first that fits counts."""


class ConnectorName(BaseConverter):
    regex = CONNECTOR


class Id(BaseConverter):
    regex = ID


class Code(BaseConverter):
    regex = CODE


CONVERTERS = {"connector": ConnectorName, "id": Id, "code": Code}


def rule(path: str) -> str:
    """Return werkzeug's rule for a path of the route table."""
    named = path.replace("{id}", "<id:id>")
    for start in (API, f"{API}/channels"):
        named = named.replace(f"{start}/{{name}}", f"{start}/<connector:name>")
    return named.replace("{code}", "<code:code>").replace("{", "<").replace("}", ">")
