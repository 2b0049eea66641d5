"""What every section of the platform file is made of: strict models, names, label names, addresses."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from midwatch.spec import key_texts

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)]
"""A DNS label: it ends up in file names, Kubernetes names and label values."""

LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]

TOPIC_PATTERN = r"^[a-zA-Z0-9._-]{1,249}$"
Topic = Annotated[str, Field(pattern=TOPIC_PATTERN)]
"""Name of a topic, as Kafka takes it."""

_HOST_PORT = r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):(\d{1,5})"


def _host_port(text: Any) -> Any:
    match = re.fullmatch(_HOST_PORT, text, re.ASCII) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not HOST:PORT; write an address without scheme and path, such as vault-0:8200")
    if not 1 <= int(match[2]) <= 65535:
        raise ValueError(f"{text!r} has no port from 1 to 65535; write the one where it answers")
    return text


HostPort = Annotated[
    str, BeforeValidator(_host_port, json_schema_input_type=Annotated[str, Field(pattern=f"^{_HOST_PORT}$")])
]
"""Where a program answers; an address of IPv6 stands in brackets."""


def _each_once(names: list[str]) -> list[str]:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise ValueError(f"has {name} twice; write each once")
        seen.add(name.lower())
    return names


HostPorts = Annotated[list[HostPort], Field(min_length=1), AfterValidator(_each_once)]
"""Where several programs of one kind answer, each of which stands there once. Names of hosts have no case."""


class Strict(BaseModel):
    """Refuses unknown keys and silent conversions; instances do not change.

    A validator is built when a section is first read: a section inside another one never needs its own. The texts
    below the keys are read from the source where a schema shows them: pydantic would read it at every start.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        texts = key_texts.of(cls)
        for name, info in cls.model_fields.items():
            if name in texts:
                properties[info.alias or name].setdefault("description", texts[name])
        return schema


Place = tuple[str | int, ...]
"""Where something stands in a platform file: keys and indices from the top."""

Finding = tuple[Place, str, str]
"""A problem that only several sections together show: its place, what is wrong, what to do."""


def unknown(name: str, known: Iterable[str], what: str) -> tuple[str, str]:
    """Message and remedy for a name that leads nowhere."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1)
    remedy = f"did you mean {close[0]}?" if close else f"known: {', '.join(names) or 'none'}"
    return f"there is no {what} {name!r}", remedy
