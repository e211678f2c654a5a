"""Settings of one deployed function, read from the environment once. The only reader of `os.environ`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from shared.errors import InternalError

VERSION = "0.1.0"
GRPC_EMULATORS = ("secret_manager", "cloud_tasks", "cloud_scheduler")
ELSEWHERE = ("RESOLVER_TABLE", "API_ENDPOINT_OVERRIDE")
"""Lead calls elsewhere as emulators' addresses do: names of hosts by our own table, Cloud Storage by Google's client itself."""
MAX_BYTES_BILLED = 100 * 2**30  # our choice: about 0.6 dollars of on-demand queries


OF_LIBRARIES = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # an export peaks at 35 MB less than with Arrow's own allocator
    "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "true",  # else a thread asks for each bucket, which our accounts may not read
}
"""Read by libraries themselves, from the environment; what the deployment sets is kept."""


@dataclass(frozen=True)
class Settings:
    """Where things are and who may do what.

    URLs have no trailing slash. The `*_emulator` settings are `host:port`, and only accepted with `ENVIRONMENT=local`, which
    in turn is refused on Google Cloud (where `K_SERVICE` is set), so that production is never pointed at plaintext.
    `cloud_run_checks_callers` says that nobody reaches the function but through Cloud Run's check of the caller's token (or through
    what imitates it locally, where a request without a token may do all the same).
    """

    environment: str
    project: str
    location: str
    urls: Mapping[str, str]
    tasks_service_account: str
    scheduler_service_account: str
    export_queue: str
    refresh_queue: str
    notice_queue: str
    tables_bucket: str
    frozen_bucket: str
    exports_bucket: str
    database: str
    prefix: str
    admins: frozenset[str]
    operators: frozenset[str]
    viewers: frozenset[str]
    warehouse_hosts: tuple[str, ...]
    threads: int
    bigquery_queries: bool
    bigquery_max_bytes_billed: int
    cloud_run_checks_callers: bool = False
    longest_wait_s: float = 60.0
    looker_hosts: tuple[str, ...] = ()
    notice_hosts: tuple[str, ...] = ()
    resolver_table: Mapping[str, str] | None = None
    trace_export_url: str | None = None
    secret_manager_emulator: str | None = None
    cloud_tasks_emulator: str | None = None
    cloud_scheduler_emulator: str | None = None
    bigquery_emulator: str | None = None

    @property
    def is_local(self) -> bool:
        return self.environment == "local"


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings. Raises `InternalError` naming every variable that is missing or contradicts another."""
    env = os.environ if environ is None else environ
    if environ is None:
        for name, value in OF_LIBRARIES.items():
            os.environ.setdefault(name, value)
    local = env.get("ENVIRONMENT", "production") == "local"
    if local and env.get("K_SERVICE"):
        raise InternalError(
            "ENVIRONMENT=local is refused on Google Cloud (K_SERVICE is set); remove it from the deployment"
        )
    emulators = {name: env.get(f"{name.upper()}_EMULATOR_HOST") for name in GRPC_EMULATORS}
    emulators["bigquery"] = env.get("BIGQUERY_EMULATOR_HOST")
    stray = [] if local else sorted(name for name, value in env.items() if value and _is_for_local_use(name))
    if stray:
        raise InternalError(f"{', '.join(stray)} is set but ENVIRONMENT is not local; they are for local use only")
    # A command on somebody's machine may hold a function's settings (infra/DEPLOY.md); Cloud Run is in front of a function alone.
    checked = _flag(env, "CLOUD_RUN_CHECKS_CALLERS") and (local or bool(env.get("K_SERVICE")))
    required = ("GOOGLE_CLOUD_PROJECT", "LOCATION", "REGISTER_URL", "EXPORT_URL", "EXPORT_WORKER_URL", "REFRESH_URL",
                "TASKS_SERVICE_ACCOUNT", "SCHEDULER_SERVICE_ACCOUNT", "TABLES_BUCKET", "FROZEN_BUCKET", "EXPORTS_BUCKET")  # fmt: skip
    missing = [name for name in required if not env.get(name)]
    if missing:
        raise InternalError(f"settings are missing: {', '.join(missing)}; set them on the function, README lists them")
    prefix = env.get("NAME_PREFIX", "bi")
    return Settings(
        environment="local" if local else env.get("ENVIRONMENT", "production"),
        project=env["GOOGLE_CLOUD_PROJECT"],
        location=env["LOCATION"],
        urls={
            name: env[f"{name.upper()}_URL"].rstrip("/") for name in ("register", "export", "export_worker", "refresh")
        },
        tasks_service_account=env["TASKS_SERVICE_ACCOUNT"],
        scheduler_service_account=env["SCHEDULER_SERVICE_ACCOUNT"],
        export_queue=env.get("EXPORT_QUEUE", f"{prefix}-export"),
        refresh_queue=env.get("REFRESH_QUEUE", f"{prefix}-refresh"),
        notice_queue=env.get("NOTICE_QUEUE", f"{prefix}-notices"),
        tables_bucket=env["TABLES_BUCKET"],
        frozen_bucket=env["FROZEN_BUCKET"],
        exports_bucket=env["EXPORTS_BUCKET"],
        database=env.get("FIRESTORE_DATABASE", "(default)"),
        prefix=prefix,
        admins=_words(env.get("BI_ADMINS", "")),
        operators=_words(env.get("BI_OPERATORS", "")),
        viewers=_words(env.get("BI_VIEWERS", "")),
        warehouse_hosts=tuple(sorted(_words(env.get("WAREHOUSE_HOSTS", "")))),
        threads=int(env.get("THREADS", "8")),
        longest_wait_s=float(env.get("MAX_WAIT_S", "60")),
        looker_hosts=tuple(sorted(_words(env.get("LOOKER_HOSTS", ".looker.com")))),
        notice_hosts=tuple(sorted(_words(env.get("NOTICE_HOSTS", "hooks.slack.com")))),
        resolver_table=_table(env["RESOLVER_TABLE"]) if env.get("RESOLVER_TABLE") else None,
        bigquery_queries=env.get("BIGQUERY_QUERIES", "false") == "true",
        bigquery_max_bytes_billed=int(env.get("BIGQUERY_MAX_BYTES_BILLED", str(MAX_BYTES_BILLED))),
        cloud_run_checks_callers=checked,
        trace_export_url=env.get("TRACE_EXPORT_URL") or None,
        secret_manager_emulator=emulators["secret_manager"],
        cloud_tasks_emulator=emulators["cloud_tasks"],
        cloud_scheduler_emulator=emulators["cloud_scheduler"],
        bigquery_emulator=emulators["bigquery"],
    )


def export_role() -> str:
    """Return which of its two deployments the export function is: `api` or `worker`."""
    role = os.environ.get("EXPORT_ROLE", "api")
    if role not in ("api", "worker"):
        raise InternalError(f"EXPORT_ROLE is {role!r}; expected api or worker")
    return role


def _is_for_local_use(name: str) -> bool:
    return name.endswith("_EMULATOR_HOST") or name in ELSEWHERE


def _flag(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name, "false")
    if value not in ("true", "false"):
        raise InternalError(f"{name} is {value!r}; expected true or false")
    return value == "true"


def _words(text: str) -> frozenset[str]:
    return frozenset(word.strip().lower() for word in text.split(",") if word.strip())


def _table(text: str) -> Mapping[str, str]:
    """Return the addresses of `name=address,name=address` by name."""
    return {name: address for name, _, address in (word.partition("=") for word in _words(text))}
