"""What the keys of a study file mean, from its JSON schema, and where a message points in a text."""

import json
import re
import threading
from collections.abc import Mapping
from typing import Any

import yaml
from dash import html
from dash.development.base_component import Component

from paredown.search.errors import ConfigError
from paredown.search.service.service import Service
from paredown.search.study_file.yaml_text import composed

KEY_PATH = re.compile(r"^[^:]+: ([a-z_][\w.]*(?:\[\d+\])?):")
MAX_DEPTH = 3
Schema = Mapping[str, Any]


class StudySchema:
    """The JSON schema of study files, which a process of its own builds once: that loads PyTorch.

    Attributes:
        known: The schema; empty as long as nobody has read it.

    Args:
        service: The service.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self.known: Schema = {}
        self._lock = threading.Lock()

    def read(self) -> Schema:
        """Return the schema."""
        with self._lock:
            if not self.known:
                self.known = json.loads(self._service.command("schema"))
            return self.known


def keys(schema: Schema) -> list[Component]:
    """Return the keys with what they mean, each section below its key."""
    return _keys(schema, schema.get("$defs", {}), 1)


def _keys(part: Schema, definitions: Schema, depth: int) -> list[Component]:
    shown: list[Component] = []
    for name, described in part.get("properties", {}).items():
        if described.get("deprecated"):
            continue
        below = _section(described, definitions)
        inner = _keys(below, definitions, depth + 1) if below and depth < MAX_DEPTH else []
        text = [html.Code(name), html.Span(_allowed(described), className="allowed")]
        about = html.P(described.get("description", below.get("description", "") if below else ""))
        shown.append(html.Details([html.Summary(text), html.Div([about, *inner], className="key")]))
    return shown


def _section(described: Schema, definitions: Schema) -> Schema | None:
    ways = [described, *described.get("anyOf", []), *described.get("allOf", [])]
    references = [way["$ref"].rpartition("/")[2] for way in ways if "$ref" in way]
    return definitions.get(references[0]) if references else None


def _allowed(described: Schema) -> str:
    """Return what a key takes, and what it is without it, in a few words."""
    ways = [described, *described.get("anyOf", []), described.get("items", {})]
    choices = [str(one) for way in ways for one in way.get("enum", [])]
    default = described.get("default")
    said = ", ".join(choices[:8]) + (", ..." if len(choices) > 8 else "")
    has_default = default not in (None, "", []) and not isinstance(default, dict)
    standard = f"default {json.dumps(default)}" if has_default else ""
    return " · ".join(part for part in (said, standard) if part)


def meaning(schema: Schema, message: str) -> str:
    """Return what the key means that a message names; an empty text where it names none that exists."""
    part: Schema | None = schema
    described: Schema = {}
    for name in key_named(message).split("."):
        if part is None or name not in part.get("properties", {}):
            return str(described.get("description", ""))
        described = part["properties"][name]
        part = _section(described, schema.get("$defs", {}))
    return str(described.get("description", ""))


def key_named(message: str) -> str:
    """Return the dotted key that a message names; an empty text where it names none."""
    found = KEY_PATH.match(message)
    return re.sub(r"\[\d+\]$", "", found[1]) if found else ""


def line_of(text: str, key: str) -> int | None:
    """Return the line, from 1, where a dotted key stands in a YAML text; None where it does not."""
    try:
        node = composed(text, "the text")
    except ConfigError:
        return None
    line = None
    for part in key.split("."):
        if not isinstance(node, yaml.MappingNode):
            return line
        found = next(((k, v) for k, v in node.value if getattr(k, "value", None) == part), None)
        if found is None:
            return line
        line, node = found[0].start_mark.line + 1, found[1]
    return line
