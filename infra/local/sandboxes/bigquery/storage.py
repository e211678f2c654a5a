"""What BigQuery writes to Cloud Storage: objects, over the JSON API of the local stand-in."""

from __future__ import annotations

import http.client
import json
from urllib.parse import quote, urlsplit

from .errors import refuse


def upload(storage_url: str, bucket: str, name: str, data: bytes) -> None:
    """Write an object. Raises `VendorError` if the bucket is not there, or nothing listens."""
    at = urlsplit(storage_url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=60)
    path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
    try:
        connection.request("POST", path, data, {"Content-Type": "application/octet-stream"})
        answer = connection.getresponse()
        body = answer.read()
    except OSError as exc:
        raise refuse(400, "invalid", f"Cloud Storage at {storage_url} cannot be reached: {exc}") from exc
    finally:
        connection.close()
    if answer.status == 404:
        raise refuse(404, "notFound", f"Not found: Bucket {bucket}")
    if answer.status != 200:
        raise refuse(400, "invalid", f"Cloud Storage answered {answer.status}: {body[:200]!r}")
    json.loads(body)
