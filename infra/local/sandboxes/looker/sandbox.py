"""Sandbox of Looker's API 4.0: sign-in, connections, datagroups, derived tables, queries, over the embedded Postgres.

What is real here: connection tests, derived table builds and queries run SQL in the warehouse as Looker's database user.
Shapes are the contract's (Looker.4.0.oas.json); error texts as there or in public threads, see `errors.py`. Unverified: the
words of connection tests, the status of a build refused, `looker_error` in results.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any, ClassVar

import psycopg

from infra.local.accounts import Accounts
from infra.local.sandboxes._base import Request, Response, Sandbox, SandboxContext, VendorError, route

from . import query, state
from .database import Database
from .errors import DOCS, invalid, not_found, refuse, unauthenticated

API = "/api/4.0"
TESTS = ("connect", "query")
VERSION = "26.12.0"


class LookerSandbox(Sandbox):
    """One instance with one connection (the embedded Postgres), one model, API keys that differ in nothing but their name.

    Knobs: `token_lifetime_s`, `pdt_seconds`, `pdt_outcome` (complete, error, killed), `datagroup_seconds` (from a trigger to
    the check after it), `trigger_error` (text that check reports), `denied_permissions` (list; their routes answer 404),
    `pdt_api_control`, `connection_database` (what the connection says its database is; empty: the truth).
    """

    name = "looker"
    hosts = ("demo.cloud.looker.com",)
    default_settings: ClassVar[Mapping[str, Any]] = {
        "token_lifetime_s": 3600,
        "pdt_seconds": 2.0,
        "pdt_outcome": "complete",
        "datagroup_seconds": 1.0,
        "trigger_error": "",
        "denied_permissions": [],
        "pdt_api_control": True,
        "connection_database": "",
    }

    def __init__(self, context: SandboxContext) -> None:
        super().__init__(context)
        self.database = Database(context.accounts.warehouse)
        self.db.executescript(state.SCHEMA)

    def seed(self, accounts: Accounts) -> None:
        """The demo API key, its datagroup, one persistent derived table, and an ephemeral one beside it."""
        looker = accounts.looker
        with self.transaction() as db:
            key = (looker.client_id, _digest(looker.client_secret), "1")
            db.execute("INSERT OR IGNORE INTO api_keys VALUES (?, ?, ?)", key)
            db.execute(
                "INSERT OR IGNORE INTO datagroups (id, model_name, name, created_at, trigger_check_at, trigger_value)"
                " VALUES (?, ?, ?, ?, ?, '0')",
                (
                    looker.datagroup_id,
                    looker.model,
                    looker.datagroup_id,
                    int(self.clock.time()),
                    int(self.clock.time()),
                ),
            )
            source = looker.view.removesuffix("_summary")
            for view, persistent in ((looker.view, 1), (f"{source}_live", 0)):
                db.execute(
                    "INSERT OR IGNORE INTO derived_tables (model, view, source_table, persistent) VALUES (?, ?, ?, ?)",
                    (looker.model, view, source, persistent),
                )

    def admin(self, request: Request, path: str) -> Response | None:
        """GET `datagroups`, `builds`, `derived_tables`; POST `api_keys`; DELETE `api_keys/<client_id>`; POST `derived_tables`."""
        parts = path.split("/")
        if request.method == "GET" and path in ("datagroups", "builds", "derived_tables"):
            with self.lock:
                return Response(200, [dict(row) for row in self.db.execute(f"SELECT * FROM {path} ORDER BY 1")])
        if (request.method, path) == ("POST", "api_keys"):
            client_id, secret = secrets.token_hex(10), secrets.token_hex(12)
            with self.transaction() as db:
                db.execute("INSERT INTO api_keys VALUES (?, ?, '2')", (client_id, _digest(secret)))
            return Response(201, {"client_id": client_id, "client_secret": secret})
        if request.method == "DELETE" and len(parts) == 2 and parts[0] == "api_keys":
            with self.transaction() as db:
                gone = db.execute("DELETE FROM api_keys WHERE client_id = ?", (parts[1],)).rowcount
            return Response(204 if gone else 404)
        if (request.method, path) == ("POST", "derived_tables"):
            body = request.json()
            row = (body["model"], body["view"], body["source_table"], int(body.get("persistent", True)))
            with self.transaction() as db:
                db.execute("INSERT OR REPLACE INTO derived_tables VALUES (?, ?, ?, ?, NULL, NULL)", row)
            return Response(201, body)
        return None

    def not_imitated(self, route: str) -> Response:
        """A 501 in Looker's form, which its SDK reads."""
        message = f"not imitated by this sandbox: {route}"
        return Response(501, {"message": message, "documentation_url": f"{DOCS}/501", "route": route})

    def bad_request(self, message: str) -> Response:
        """400 in the contract's Error form."""
        return Response(400, {"message": f"Bad Request: {message}", "documentation_url": f"{DOCS}/400"})

    @route("POST", f"{API}/login")
    def login(self, request: Request) -> Response:
        """Trade an API key in the form body for a token; 404 for a wrong one, as the contract lists."""
        form = request.form()
        if not form.get("client_id") or not form.get("client_secret"):
            return self.bad_request("client_id and client_secret are required in the form body")
        with self.lock:
            row = self.db.execute("SELECT digest FROM api_keys WHERE client_id = ?", (form["client_id"],)).fetchone()
        if row is None or not hmac.compare_digest(row["digest"], _digest(form["client_secret"])):
            raise not_found("post/login")
        lifetime_s = int(self.settings["token_lifetime_s"])
        token = self.context.tokens.issue("looker", form["client_id"], "api", lifetime_s)
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": lifetime_s, "refresh_token": None}
        return Response(200, answer)

    @route("DELETE", "/api/logout")  # where the SDK sends it
    @route("DELETE", f"{API}/logout")
    def logout(self, request: Request) -> Response:
        """Forget the token."""
        self._caller(request)
        self.context.tokens.revoke("looker", request.bearer or "")
        return Response(204)

    @route("GET", f"{API}/user")
    def me(self, request: Request) -> Response:
        """The API user that the token stands for."""
        client_id = self._caller(request)
        with self.lock:
            row = self.db.execute("SELECT user_id FROM api_keys WHERE client_id = ?", (client_id,)).fetchone()
        user = {"id": row["user_id"] if row else "0", "display_name": "BI connectors", "is_disabled": False}
        return Response(200, query.select_fields(user, request))

    @route("GET", f"{API}/versions")
    def versions(self, request: Request) -> Response:
        """What this instance speaks."""
        self._caller(request)
        current = {"version": "4.0", "full_version": "4.0.26.12", "status": "current"}
        origin = f"https://{request.host}"
        body = {"looker_release_version": VERSION, "current_version": current, "supported_versions": [current],
                "api_server_url": origin, "web_server_url": origin}  # fmt: skip
        return Response(200, query.select_fields(body, request))

    @route("GET", f"{API}/connections")
    def all_connections(self, request: Request) -> Response:
        """The one connection."""
        self._caller(request, "see_connections")
        return Response(200, [query.select_fields(self._connection(), request)])

    @route("GET", f"{API}/connections/<name>")
    def connection(self, request: Request, name: str) -> Response:
        """It by name; without its password, which Looker never hands out."""
        self._caller(request, "see_connections")
        self._require_connection(name, "get/connections/:connection_name")
        return Response(200, query.select_fields(self._connection(), request))

    @route("PUT", f"{API}/connections/<name>/test")
    def test_connection(self, request: Request, name: str) -> Response:
        """Really connect and select. 200 also when a test fails; tests that the dialect does not have are ignored."""
        self._caller(request, "see_connections")
        self._require_connection(name, "put/connections/:connection_name/test")
        asked = ",".join(request.query_list("tests")) or ",".join(TESTS)
        return Response(200, [self._try(test) for test in TESTS if test in asked.split(",")])

    @route("GET", f"{API}/datagroups")
    def all_datagroups(self, request: Request) -> Response:
        """All of them."""
        self._caller(request, "see_datagroups")
        with self.transaction() as db:
            ids = [row["id"] for row in db.execute("SELECT id FROM datagroups ORDER BY id")]
            found = [state.datagroup(db, each, self.clock.time(), self.settings) for each in ids]
        return Response(200, found)

    @route("GET", f"{API}/datagroups/<datagroup_id>")
    def datagroup(self, request: Request, datagroup_id: str) -> Response:
        """One, with the trigger check done if it is due."""
        self._caller(request, "see_datagroups")
        with self.transaction() as db:
            found = state.datagroup(db, datagroup_id, self.clock.time(), self.settings)
        if found is None:
            raise not_found("get/datagroups/:datagroup_id")
        return Response(200, found)

    @route("PATCH", f"{API}/datagroups/<datagroup_id>")
    def update_datagroup(self, request: Request, datagroup_id: str) -> Response:
        """Set `triggered_at` or `stale_before`, the two that may be written; a time in the future is refused."""
        where = "patch/datagroups/:datagroup_id"
        self._caller(request, "update_datagroups")
        body = request.json()
        if not isinstance(body, dict):
            return self.bad_request("expected an object")
        with self.transaction() as db:
            now = self.clock.time()
            if state.datagroup(db, datagroup_id, now, self.settings) is None:
                raise not_found(where)
            for name in ("triggered_at", "stale_before"):
                if body.get(name) is None:
                    continue
                if not isinstance(body[name], int) or isinstance(body[name], bool):
                    raise invalid(where, name, "must be an integer")
                if body[name] > now:
                    raise invalid(where, name, "cannot be in the future")
                db.execute(f"UPDATE datagroups SET {name} = ? WHERE id = ?", (body[name], datagroup_id))
            if body.get("triggered_at") is not None:
                due = now + float(self.settings["datagroup_seconds"])
                db.execute("UPDATE datagroups SET check_due = ? WHERE id = ?", (due, datagroup_id))
            return Response(200, state.datagroup(db, datagroup_id, now, self.settings))

    @route("GET", f"{API}/derived_table/<model>/<view>/start")
    def start_pdt_build(self, request: Request, model: str, view: str) -> Response:
        """Begin a build; the answer's `resp_text` is JSON in a string."""
        where = "get/derived_table/:model_name/:view_name/start"
        self._caller(request, "develop")
        with self.transaction() as db:
            key = (model, view)
            table = db.execute("SELECT * FROM derived_tables WHERE model = ? AND view = ?", key).fetchone()
            if table is None:
                raise not_found(where)
            if not table["persistent"]:  # looker-open-source/sdk-codegen#1107
                body = {"message": "An error has occurred.", "documentation_url": "https://docs.looker.com/"}
                raise VendorError(Response(400, body))
            if not self.settings["pdt_api_control"]:
                raise refuse(400, "PDT API Control is not enabled on this connection", where)
            asked = request.query
            build_id = state.start_build(db, table, self.clock.time(), asked.get("source"), asked.get("force_rebuild"))
        text = json.dumps({"status": "added", "materialization_id": build_id})
        return Response(200, {"materialization_id": build_id, "resp_text": text})

    @route("GET", f"{API}/derived_table/<build_id>/status")
    def check_pdt_build(self, request: Request, build_id: str) -> Response:
        """How a build stands. Only builds that the API started are known."""
        self._caller(request, "develop")
        with self.transaction() as db:
            found = state.build(db, build_id, self.clock.time(), self.settings, self.database)
        if found is None:
            raise not_found("get/derived_table/:materialization_id/status")
        return Response(200, {"materialization_id": build_id, "resp_text": state.resp_text(found)})

    @route("GET", f"{API}/derived_table/<build_id>/stop")
    def stop_pdt_build(self, request: Request, build_id: str) -> Response:
        """Kill a build that still runs."""
        self._caller(request, "develop")
        with self.transaction() as db:
            found = state.build(db, build_id, self.clock.time(), self.settings, self.database)
            if found is None:
                raise not_found("get/derived_table/:materialization_id/stop")
            if found["status"] not in state.ENDED:
                db.execute("UPDATE builds SET status = 'killed' WHERE id = ?", (build_id,))
                found["status"] = "killed"
        return Response(200, {"materialization_id": build_id, "resp_text": state.resp_text(found)})

    @route("GET", f"{API}/derived_table/graph/view/<view>")
    def graph_derived_tables_for_view(self, request: Request, view: str) -> Response:
        """The view's derived table in DOT."""
        self._caller(request, "develop")
        wanted = [name for name in request.query.get("models", "").split(",") if name]
        with self.lock:
            rows = self.db.execute("SELECT * FROM derived_tables WHERE view = ?", (view,)).fetchall()
        found = [row for row in rows if not wanted or row["model"] in wanted]
        if not found:
            raise not_found("get/derived_table/graph/view/:view")
        return Response(200, {"graph_text": "digraph {" + "; ".join(f'"{row["view"]}"' for row in found) + "}"})

    @route("GET", f"{API}/lookml_models/<name>")
    def lookml_model(self, request: Request, name: str) -> Response:
        """The one model; its explores are the tables of the warehouse's schema."""
        self._caller(request, "explore")
        looker = self.context.accounts.looker
        if name != looker.model:
            raise not_found("get/lookml_models/:lookml_model_name")
        explores = [{"name": table, "hidden": False} for table in self._explores()]
        body = {"name": name, "label": name.title(), "project_name": name, "has_content": bool(explores),
                "allowed_db_connection_names": [looker.connection], "explores": explores}  # fmt: skip
        return Response(200, query.select_fields(body, request))

    @route("POST", f"{API}/queries/run/<result_format>")
    def run_inline_query(self, request: Request, result_format: str) -> Response:
        """Run a query in the warehouse."""
        self._caller(request, "explore")
        return self._run(self._query(request, query.ROUTE), result_format, request)

    @route("POST", f"{API}/queries")
    def create_query(self, request: Request) -> Response:
        """Store a query."""
        self._caller(request, "explore")
        body = self._query(request, "post/queries")
        query_id = str(secrets.randbelow(10**9))
        with self.transaction() as db:
            db.execute("INSERT INTO queries VALUES (?, ?)", (query_id, json.dumps(body)))
        return Response(200, query.select_fields({**body, "id": query_id}, request))

    @route("GET", f"{API}/queries/<query_id>")
    def query(self, request: Request, query_id: str) -> Response:
        """A stored query."""
        self._caller(request, "explore")
        return Response(
            200, query.select_fields({**self._stored(query_id, "get/queries/:query_id"), "id": query_id}, request)
        )

    @route("GET", f"{API}/queries/<query_id>/run/<result_format>")
    def run_query(self, request: Request, query_id: str, result_format: str) -> Response:
        """Run a stored query."""
        self._caller(request, "explore")
        return self._run(self._stored(query_id, "get/queries/:query_id/run/:result_format"), result_format, request)

    def _caller(self, request: Request, permission: str | None = None) -> str:
        client_id = self.context.tokens.check("looker", request.bearer)
        if client_id is None:
            raise unauthenticated()
        if permission in self.settings["denied_permissions"]:
            raise not_found(f"{request.method.lower()}{request.path.removeprefix(API)}")
        return client_id

    def _connection(self) -> dict[str, Any]:
        at = self.context.accounts.warehouse
        dialect = {"name": "postgres", "label": "PostgreSQL 9.5+", "connection_tests": list(TESTS),
                   "supports_persistent_derived_tables": True, "supports_streaming": True}  # fmt: skip
        return {
            "name": self.context.accounts.looker.connection,
            "dialect": dialect,
            "dialect_name": "postgres",
            "host": at.host,
            "port": str(at.port),
            "username": at.reader_user,
            "has_password": True,
            "database": self.settings["connection_database"] or at.database,
            "schema": at.schema,
            "ssl": False,
            "verify_ssl": False,
            "pdts_enabled": True,
            "tmp_db_name": "looker_scratch",
            "pdt_api_control_enabled": bool(self.settings["pdt_api_control"]),
            "tunnel_id": None,
            "managed": False,
            "example": False,
        }

    def _require_connection(self, name: str, where: str) -> None:
        if name != self.context.accounts.looker.connection:
            raise not_found(where)

    def _try(self, test: str) -> dict[str, Any]:
        at = self.context.accounts.warehouse
        text = f"jdbc:postgresql://{at.host}:{at.port}/{at.database}" if test == "connect" else None
        try:
            with self.database.session() as connection:
                connection.execute("SELECT 1")
        except psycopg.Error as error:
            message = f"Cannot {test}: {str(error).strip().splitlines()[-1]}"
            return {"name": test, "status": "error", "message": message, "connection_string": text}
        message = "Can connect" if test == "connect" else "Can run simple select query"
        return {"name": test, "status": "success", "message": message, "connection_string": text}

    def _explores(self) -> list[str]:
        try:
            return self.database.tables()
        except psycopg.Error:
            return []

    def _query(self, request: Request, where: str) -> dict[str, Any]:
        body = request.json()
        if not isinstance(body, dict):
            raise VendorError(self.bad_request("expected an object"))
        for name in ("model", "view"):
            if not body.get(name):
                raise invalid(where, name, f"{name} is required", "missing_field")
        if body["model"] != self.context.accounts.looker.model:
            raise not_found(where)
        return body

    def _stored(self, query_id: str, where: str) -> dict[str, Any]:
        with self.lock:
            row = self.db.execute("SELECT body FROM queries WHERE id = ?", (query_id,)).fetchone()
        if row is None:
            raise not_found(where)
        stored: dict[str, Any] = json.loads(row["body"])
        return stored

    def _run(self, body: dict[str, Any], result_format: str, request: Request) -> Response:
        try:
            return query.run(self.database, body, result_format, request.query.get("limit"))
        except psycopg.OperationalError as error:
            raise refuse(400, f"The database is not reachable ({type(error).__name__})", query.ROUTE) from error


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
