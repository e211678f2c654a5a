"""Stands in for a provider: serves its schema over Terraform's plugin protocol and plans what is configured.

It talks to nobody. It knows shapes, and names that follow from what is configured (`identities`), not values: enumerations, formats
and what forces a replacement are the real provider's.
Terraform starts it; `PROVIDER_SCHEMA` names the file that `schema.schema_of` made.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import msgpack
from tf.gen import grpc_controller_pb2, grpc_controller_pb2_grpc, grpc_stdio_pb2_grpc
from tf.gen import tfplugin_pb2 as pb
from tf.gen import tfplugin_pb2_grpc as rpc
from tf.runner import _self_signed_cert  # the handshake's certificate; the package offers it to its own runner only

from infra.check.identities import named

UNKNOWN = msgpack.ExtType(0, b"\x00")
_LARGE = [("grpc.max_send_message_length", 256 << 20), ("grpc.max_receive_message_length", 256 << 20)]
_NESTING = {
    "list": pb.Schema.NestedBlock.LIST,
    "set": pb.Schema.NestedBlock.SET,
    "single": pb.Schema.NestedBlock.SINGLE,
}


def message(block: dict[str, Any]) -> Any:
    """The protocol's form of a block."""
    made = pb.Schema.Block()
    for name, attribute in sorted(block["attributes"].items()):
        flags = {flag: attribute[flag] for flag in ("required", "optional", "computed")}
        made.attributes.add(name=name, type=json.dumps(attribute["type"]).encode(), **flags)
    for name, nested in sorted(block["blocks"].items()):
        inner = made.block_types.add(type_name=name, nesting=_NESTING[nested["nesting"]])
        if nested["nesting"] != "single":
            inner.min_items, inner.max_items = nested["min"], nested["max"]
        inner.block.CopyFrom(message(nested["block"]))
    return made


def unknown_where_computed(block: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """Fill in what only the cloud will know."""
    for name, attribute in block["attributes"].items():
        if attribute["computed"] and value.get(name) is None:
            value[name] = UNKNOWN
    for name, nested in block["blocks"].items():
        inner = value.get(name)
        for item in inner if isinstance(inner, list) else [inner]:
            if isinstance(item, dict):
                unknown_where_computed(nested["block"], item)
    return value


class Provider(rpc.ProviderServicer):  # type: ignore[misc]  # generated code without types
    """The provider's side of the protocol, version 6."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._project = ""
        self._answer = pb.GetProviderSchema.Response(provider=pb.Schema(version=0, block=message(schema["provider"])))
        for name, block in schema["resources"].items():
            self._answer.resource_schemas[name].CopyFrom(pb.Schema(version=0, block=message(block)))

    def GetMetadata(self, request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")

    def GetProviderSchema(self, request: Any, context: Any) -> Any:
        return self._answer

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:
        return pb.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:
        return pb.ValidateResourceConfig.Response()

    def ConfigureProvider(self, request: Any, context: Any) -> Any:
        configured = msgpack.unpackb(request.config.msgpack, raw=False, strict_map_key=False) or {}
        self._project = str(configured.get("project") or "")
        return pb.ConfigureProvider.Response()

    def UpgradeResourceState(self, request: Any, context: Any) -> Any:
        return pb.UpgradeResourceState.Response(upgraded_state=pb.DynamicValue(json=request.raw_state.json))

    def ReadResource(self, request: Any, context: Any) -> Any:
        return pb.ReadResource.Response(new_state=request.current_state)

    def PlanResourceChange(self, request: Any, context: Any) -> Any:
        wanted = msgpack.unpackb(request.proposed_new_state.msgpack, raw=False, strict_map_key=False)
        if wanted is None:
            return pb.PlanResourceChange.Response(planned_state=request.proposed_new_state)
        planned = unknown_where_computed(self._schema["resources"][request.type_name], wanted)
        planned = named(request.type_name, planned, self._project)
        return pb.PlanResourceChange.Response(planned_state=pb.DynamicValue(msgpack=msgpack.packb(planned)))

    def GetFunctions(self, request: Any, context: Any) -> Any:
        return pb.GetFunctions.Response()

    def StopProvider(self, request: Any, context: Any) -> Any:
        return pb.StopProvider.Response()


class Controller(grpc_controller_pb2_grpc.GRPCControllerServicer):  # type: ignore[misc]
    """How Terraform ends a plugin."""

    def __init__(self, ended: threading.Event) -> None:
        self._ended = ended

    def Shutdown(self, request: Any, context: Any) -> Any:
        self._ended.set()
        return grpc_controller_pb2.Empty()


class Output(grpc_stdio_pb2_grpc.GRPCStdioServicer):  # type: ignore[misc]
    """The plugin's own output: none."""

    def StreamStdio(self, request: Any, context: Any) -> Any:
        return iter(())


def main() -> int:
    """Serve until Terraform says that it is done."""
    ended = threading.Event()
    server = grpc.server(futures.ThreadPoolExecutor(8), options=_LARGE)
    rpc.add_ProviderServicer_to_server(Provider(json.loads(Path(os.environ["PROVIDER_SCHEMA"]).read_text())), server)
    grpc_controller_pb2_grpc.add_GRPCControllerServicer_to_server(Controller(ended), server)
    grpc_stdio_pb2_grpc.add_GRPCStdioServicer_to_server(Output(), server)
    with tempfile.TemporaryDirectory() as folder:
        certificate, credentials = _self_signed_cert()
        server.add_secure_port(f"unix://{folder}/socket", credentials)
        server.start()
        encoded = base64.b64encode(certificate).decode().rstrip("=")
        sys.stdout.write(f"1|6|unix|{folder}/socket|grpc|{encoded}\n")
        sys.stdout.flush()
        ended.wait()
        server.stop(0.2).wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
