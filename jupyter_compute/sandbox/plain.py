"""Long answers of EC2, written at once: moto looks up every name of every value of them anew."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

from moto.core.responses import ActionResult
from moto.ec2.responses.instances import InstanceResponse

from .amending import replace

__all__ = ["Plain", "amend"]

_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'


class Plain(ActionResult):
    """An answer of EC2 that is made of mappings with the names of the API, and of nothing else.

    Parameters
    ----------
    result : mapping
    """

    def __init__(self, result: Mapping[str, Any]) -> None:
        super().__init__(result)
        self._mapping = result

    def execute_result(self, context: Any) -> tuple[int, dict[str, str], str]:
        """Return status, headers and body."""
        operation = context.operation_model
        name = f"{operation.name}Response"
        space = operation.metadata.get("xmlNamespace") or _namespace(operation.service_model)
        body = "".join(_members(operation.output_shape, self._mapping))
        identity = f"<requestId>{uuid.uuid4()}</requestId>"
        text = f'{_DECLARATION}<{name} xmlns="{space}">{body}{identity}</{name}>'
        return 200, {"Content-Type": "text/xml"}, text


def amend() -> None:
    """Have the list of all types written so."""

    def describe(response: InstanceResponse) -> ActionResult:
        answer: Any = original(response)
        return Plain(answer.result)

    original = replace(InstanceResponse, "describe_instance_types", describe)


def _namespace(service: Any) -> str:
    return f"http://ec2.amazonaws.com/doc/{service.api_version}/"


def _members(shape: Any, value: Mapping[str, Any]) -> Iterator[str]:
    """Return the elements of a structure, in the order of the API."""
    members = shape.members
    for name, part in value.items():
        member = members.get(name)
        if member is not None and part is not None:
            tag = member.serialization.get("name", name)
            yield from (f"<{tag}>", *_content(member, part), f"</{tag}>")


def _content(shape: Any, value: Any) -> Iterator[str]:
    if shape.type_name == "structure":
        yield from _members(shape, value)
    elif shape.type_name == "list":
        member = shape.member
        tag = member.serialization.get("name", "member")
        for item in value:
            yield from (f"<{tag}>", *_content(member, item), f"</{tag}>")
    elif isinstance(value, bool):
        yield "true" if value else "false"
    elif isinstance(value, datetime):
        yield value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    else:
        yield escape(str(value))
