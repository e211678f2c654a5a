"""Every error that a user of the API can meet, by what the reader should do next.

```
BIConnectorsError
├── InvalidRequestError      400  fix the request: a field is missing, unknown or out of its range
├── UnauthenticatedError     401  send an identity
├── ForbiddenError           403  ask an administrator for the role
├── NotFoundError            404  check the name, or register the thing first
├── ConflictError            409  look at the present state, then decide
├── PreconditionFailedError  412  read again: it changed since you read it
├── PreconditionRequiredError 428 read it first, then send If-Match
├── UnsupportedError         422  ask for something the target can do
├── IdempotencyError         422  use a new Idempotency-Key for a new request
├── SourceError              422  fix the data, or declare its types
├── MappingError             422  fix the mapping or the contract
├── TargetError              422  fix the target: it lacks something, or a vendor's limit is in the way
├── CredentialError          422  make a new credential and register it
├── VerificationError        500  nothing was published; report it: what the vendor holds is not what we sent
├── VendorUnavailableError   503  wait: the vendor is throttling, failing or out of reach
└── InternalError            500  report it
```

A message says what happened, what was expected and what to do. It never holds a secret: a vendor's words, which may quote one,
are redacted here, for they go into answers, logs and records alike. A job that fails for one of these keeps `code`, `message`
and `retryable` in its record.
"""

from __future__ import annotations

import re
from typing import ClassVar

from shared.redaction import hinted, redact, redact_value

_QUOTED = re.compile(r"(Invalid value|Invalid enum value|Object contains unknown field) (['`])(.*)\2", re.DOTALL)
"""What msgspec says with a text of the sender's in it."""


class BIConnectorsError(Exception):
    """Root of the tree.

    Attributes:
        code: stable machine-readable word, e.g. `source_invalid`; documented in README.
        status: HTTP status when it ends a request.
        retryable: whether the same request can succeed later without a change.
        details: extra members of the problem document (JSON values only).
    """

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, code: str | None = None, **details: object) -> None:
        self.message = redact(message)
        super().__init__(self.message)
        self.code = code or self.default_code
        self.details = {key: redact_value(value) for key, value in details.items() if value is not None}


class InvalidRequestError(BIConnectorsError):
    """The request is not of the documented form. `field` is a JSON path, `expected` the accepted form."""

    status = 400
    default_code = "invalid_request"


def not_of_the_form(refusal: Exception, what: str = "", field: str | None = None) -> InvalidRequestError:
    """Return the error for what msgspec refused: where it is and what was expected, and no text of the sender's beyond a hint.

    Args:
        what: what was refused, put before; e.g. `the changed schedule is not valid`.
        field: its JSON path, if not the one that msgspec tells.
    """
    said, _, where = str(refusal).partition(" - at `")
    pointer = where.rstrip("`") or "$"
    said = _QUOTED.sub(lambda found: f"{found[1]} {found[2]}{hinted(found[3])}{found[2]}", said)
    return InvalidRequestError(f"{what}{': ' if what else ''}{said} (at {pointer})", field=field or pointer)


class UnauthenticatedError(BIConnectorsError):
    """No identity, or one that does not verify (signature, issuer, audience, expiry)."""

    status = 401
    default_code = "unauthenticated"


class ForbiddenError(BIConnectorsError):
    """A verified identity without the role that the route asks for."""

    status = 403
    default_code = "forbidden"


class NotFoundError(BIConnectorsError):
    """The named thing does not exist."""

    status = 404
    default_code = "not_found"


class ConflictError(BIConnectorsError):
    """The present state forbids the request, e.g. the name is taken by another configuration."""

    status = 409
    default_code = "conflict"


class PreconditionFailedError(BIConnectorsError):
    """The document changed since the caller read it (If-Match), or a transaction's precondition does not hold."""

    status = 412
    default_code = "precondition_failed"


class PreconditionRequiredError(BIConnectorsError):
    """A change without If-Match: the caller must say which version it read."""

    status = 428
    default_code = "if_match_required"


class UnsupportedError(BIConnectorsError):
    """The target cannot do what was asked; the message names the capability and what to ask for instead."""

    status = 422
    default_code = "unsupported"


class IdempotencyError(BIConnectorsError):
    """The Idempotency-Key was used before with another body."""

    status = 422
    default_code = "idempotency_key_reused"


class SourceError(BIConnectorsError):
    """The data to export is missing, malformed or not of the declared types. `row` is one-based and counts data rows."""

    status = 422
    default_code = "source_invalid"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        row: int | None = None,
        column: str | None = None,
        **details: object,
    ) -> None:
        super().__init__(message, code=code, row=row, column=column, **details)
        self.row = row
        self.column = column


class MappingError(BIConnectorsError):
    """A mapping or a contract that cannot be followed: it is malformed, or names what the rows do not have. `field` says where."""

    status = 422
    default_code = "mapping_invalid"


class TargetError(BIConnectorsError):
    """The vendor refused the data or the place: a limit, a missing dataset, a table of another shape."""

    status = 422
    default_code = "target_refused"


class CredentialError(BIConnectorsError):
    """The vendor refused the credential or its rights. Detail `vendor_status`: the vendor's HTTP status, where there is one."""

    status = 422
    default_code = "credential_refused"


class VerificationError(BIConnectorsError):
    """What was read back from the vendor is not what the source holds; the target was left as it was."""

    default_code = "verification_failed"


class VendorUnavailableError(BIConnectorsError):
    """The vendor throttles, fails or cannot be reached, beyond what waiting in place can cure.

    Attributes:
        retry_after_s: seconds to wait before trying again, from the vendor's Retry-After, or None when it gave none.
        checkpoint: how far the step came that was interrupted, JSON values; it goes on from there (`DeliveryPlan.checkpoint`).
        is_sent: False if what was to be asked did not go out, because signing in before it failed.
    """

    status = 503
    default_code = "vendor_unavailable"
    retryable = True

    def __init__(
        self, message: str, *, code: str | None = None, retry_after_s: float | None = None, **details: object
    ) -> None:
        super().__init__(message, code=code, **details)
        self.retry_after_s = retry_after_s
        self.checkpoint: dict[str, object] = {}
        self.is_sent = True


class InternalError(BIConnectorsError):
    """A fault of ours, or a broken invariant."""


def shown(value: object) -> str:
    """Return a value (an Arrow scalar too) for a message: at most 40 characters of it."""
    try:
        text = str(value)
    except (ValueError, OverflowError):
        return "a date that Python cannot show"
    return repr(text if len(text) <= 40 else text[:39] + "…")
