"""Points a Google client at a local stand-in: an insecure gRPC channel, which these libraries have no setting for."""

from __future__ import annotations

from typing import Any

import grpc


def local_client(client_class: Any, target: str) -> Any:
    """Return a client of `client_class` that talks plaintext gRPC to `target` (`host:port`); settings allow it locally only."""
    transport = client_class.get_transport_class("grpc")
    return client_class(transport=transport(channel=grpc.insecure_channel(target)))
