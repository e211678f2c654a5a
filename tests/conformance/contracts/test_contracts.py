"""Every request that our connectors send, and every answer that the sandboxes give, against the vendors' contracts."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.conformance.contracts import loaders
from tests.conformance.contracts.beyond import ERROR_FORMS, ROUTES
from tests.conformance.contracts.contract import Contract
from tests.conformance.contracts.exchange import Check, Finding
from tests.conformance.contracts.known import Ledger
from tests.conformance.contracts.recorder import Recorder, Sent

pytestmark = [pytest.mark.contract, pytest.mark.skipif(bool(loaders.missing()), reason=loaders.missing() or "here")]
VENDORS = ("power_bi", "looker", "google_sheets", "bigquery", "entra_id", "google_identity")
FREE_BODIES = {("POST /api/4.0/login", "request_body")}  # the contract itself says: any object


@pytest.fixture(scope="module")
def checks() -> dict[str, Check]:
    """One check a sandbox; Entra ID and Google's token endpoint have no contract but `beyond`."""
    contracts = loaders.load_all()
    return {
        vendor: Check(
            contracts.get(vendor, Contract(vendor, [], {})),
            loaders.openapi(vendor, {"paths": ROUTES.get(vendor, {})}),
            ERROR_FORMS.get(vendor, {}),
        )
        for vendor in VENDORS
    }


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture(scope="module")
def unknown(recorder: Recorder, checks: dict[str, Check], ledger: Ledger) -> list[tuple[Sent, Finding]]:
    """Every finding of the run that the closed list does not explain."""
    return [
        (sent, finding)
        for sent in recorder.sent
        for finding in ledger.unknown(
            checks[sent.entry["vendor"]].findings(sent.entry, with_request=_must_be_valid(sent))
        )
    ]


def _must_be_valid(sent: Sent) -> bool:
    """A stranger's bad input may be anything; the vendor's 4xx to it may not."""
    return sent.is_ours or sent.entry["status"] < 400


def _told(found: list[tuple[Sent, Finding]]) -> str:
    counted = Counter(f"[{sent.phase}] {finding} (answered {sent.entry['status']})" for sent, finding in found)
    return "\n".join(f"{count} x {text}" for text, count in counted.most_common(40))


def test_every_request_of_our_connectors_is_valid(unknown: list[tuple[Sent, Finding]]) -> None:
    wrong = [pair for pair in unknown if pair[0].is_ours and pair[1].side == "request"]
    assert not wrong, _told(wrong)


def test_every_accepted_request_of_strangers_is_valid(unknown: list[tuple[Sent, Finding]]) -> None:
    wrong = [pair for pair in unknown if not pair[0].is_ours and pair[1].side == "request"]
    assert not wrong, _told(wrong)


def test_every_answer_of_the_sandboxes_is_valid(unknown: list[tuple[Sent, Finding]]) -> None:
    wrong = [pair for pair in unknown if pair[1].side == "answer"]
    assert not wrong, _told(wrong)


def test_every_entry_of_the_closed_list_was_needed(unknown: list[tuple[Sent, Finding]], ledger: Ledger) -> None:
    del unknown  # made first: it fills the ledger
    assert [f"{one.vendor} {one.kind} {one.operation} {one.at}" for one in ledger.dead()] == []


def test_the_run_covers_what_our_connectors_are_made_for(recorder: Recorder, checks: dict[str, Check]) -> None:
    used = {_operation(checks, sent) for sent in recorder.sent if sent.is_ours}
    dataset = "/v1.0/myorg/groups/{groupId}/datasets/{datasetId}"
    expected = {
        "POST /v1.0/myorg/groups/{groupId}/datasets",
        f"PUT {dataset}/tables/{{tableName}}",
        f"POST {dataset}/tables/{{tableName}}/rows",
        f"DELETE {dataset}/tables/{{tableName}}/rows",
        f"GET {dataset}/tables/{{tableName}}/sequenceNumbers",
        f"POST {dataset}/executeQueries",
        f"POST {dataset}/refreshes",
        f"GET {dataset}/refreshes/{{refreshId}}",
        f"DELETE {dataset}/refreshes/{{refreshId}}",
        "POST /v4/spreadsheets/{spreadsheetId}:batchUpdate",
        "PUT /v4/spreadsheets/{spreadsheetId}/values/{range}",
        "GET /v4/spreadsheets/{spreadsheetId}/values:batchGet",
        "GET /v4/spreadsheets/{spreadsheetId}",
        "PATCH /api/4.0/datagroups/{datagroup_id}",
        "GET /api/4.0/derived_table/{model_name}/{view_name}/start",
        "GET /api/4.0/derived_table/{materialization_id}/status",
        "GET /api/4.0/derived_table/{materialization_id}/stop",
        "PUT /api/4.0/connections/{connection_name}/test",
        "POST /bigquery/v2/projects/{projectId}/jobs",
        "GET /bigquery/v2/projects/{projectId}/jobs/{jobId}",
        "GET /bigquery/v2/projects/{projectId}/datasets/{datasetId}/tables/{tableId}",
        "POST /{tenant}/oauth2/v2.0/token",
        "POST /token",
        "POST /v1/projects/-/serviceAccounts/{email}:signBlob",
    }
    assert expected - used == set()
    statuses = {(sent.entry["vendor"], sent.entry["status"]) for sent in recorder.sent if sent.is_ours}
    refused = {("entra_id", 401), ("power_bi", 403), ("power_bi", 404), ("power_bi", 409)}
    refused |= {("google_identity", 400), ("google_identity", 403)}
    refused |= {("google_sheets", status) for status in (400, 401, 403, 404, 429)}
    refused |= {("bigquery", status) for status in (400, 403, 404, 409)}
    assert refused | {("looker", 401), ("looker", 404)} <= statuses


@pytest.mark.parametrize("vendor", VENDORS)
def test_one_wrong_thing_in_any_recorded_exchange_is_found(
    recorder: Recorder, checks: dict[str, Check], vendor: str
) -> None:
    """Adds a member, a parameter and a header that do not exist to what was valid, for every operation in turn."""
    wrong, tried = {"noSuchThing": 1}, set()
    for entry in (sent.entry for sent in recorder.sent if sent.entry["vendor"] == vendor):
        if entry["status"] != 200 or entry["fault"]:
            continue
        mutants = [{**entry, "query": {**entry["query"], "noSuchThing": "1"}}]
        mutants += [{**entry, "response_headers": {**entry["response_headers"], "x-no-such-thing": "1"}}]
        for body in ("request_body", "response_body"):
            if isinstance(entry[body], dict) and (entry["route"], body) not in FREE_BODIES:
                mutants.append({**entry, body: {**entry[body], **wrong}})
        for mutant in mutants:
            assert Ledger().unknown(checks[vendor].findings(mutant)), f"{entry['method']} {entry['path']}"
        tried.add(entry["route"])
    assert tried


def _operation(checks: dict[str, Check], sent: Sent) -> str:
    check = checks[sent.entry["vendor"]]
    found = check.contract.find(sent.entry["method"], sent.entry["path"])
    found = found or check.beyond.find(sent.entry["method"], sent.entry["path"])
    return found[0].name if found else ""
