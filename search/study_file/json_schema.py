"""The study file as a JSON schema, with which editors complete and check it."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.tasks.catalogue import TASKS
from paredown.evaluators.training.fit import TrainingPlan
from paredown.search.drivers.catalogue import DRIVERS
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.study_file.schema import SECTIONS, StudyConfig
from paredown.search.study_file.sections import Section, TaskSection
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Choice, Knob, Range

Schema = dict[str, Any]
SIDES = (Range(8, 32, 4), Range(8, 224, 4))
"""Two tasks; a knob whose range differs between them follows the images, and any number is let through."""
IMPORT_PATH: Schema = {"type": "string", "pattern": r"^[\w.]+:[\w.]+$", "description": "package.module:name"}


def study_schema() -> Schema:
    """Return the JSON schema of a study file, names and values of the catalogues in it."""
    schema = StudyConfig.model_json_schema()
    definitions: dict[str, Schema] = schema["$defs"]
    sections: tuple[type[Section], ...] = (StudyConfig, *SECTIONS.values())
    described = {section.__name__: section for section in sections}
    for name, part in [(StudyConfig.__name__, schema), *definitions.items()]:
        if name in described:
            _complete(part, described[name])
    properties, space = schema["properties"], definitions["SpaceSection"]["properties"]
    del definitions[TaskSection.__name__]
    properties["task"] = properties["task"] | {"anyOf": list(_tasks())}
    properties["task"].pop("$ref", None)
    properties["objectives"] |= {"items": {"enum": list(EVALUATORS)}, "uniqueItems": True}
    limit = properties["limits"].pop("additionalProperties")
    properties["limits"] |= {"properties": dict.fromkeys(EVALUATORS, limit), "additionalProperties": False}
    properties["sampler"] = _without(properties["sampler"], "type") | {"anyOf": [{"enum": list(SAMPLERS)}, IMPORT_PATH]}
    properties["driver"]["enum"] = list(DRIVERS)
    properties["workers"]["anyOf"][0] |= {"minimum": 1, "maximum": 256}
    space["families"]["items"] = {"enum": list(FAMILIES)}
    space["steps"]["items"] = {"enum": list(STEPS)}
    knobs = dict(_knobs())
    for key, schema_of in (("knobs", _narrowing), ("baseline", _one_value)):
        allowed = {name: schema_of(knob) for name, knob in knobs.items()}
        space[key] = _without(space[key], "additionalProperties") | {"properties": allowed}
        space[key]["additionalProperties"] = False
    about = {"$schema": GenerateJsonSchema.schema_dialect, "title": "Study file of Paredown"}
    return about | _without(schema, "title")


def attribute_docs(described: type) -> dict[str, str]:
    """Return what the section `Attributes:` of a docstring says about each attribute, those of the bases included."""
    docs: dict[str, str] = {}
    for kind in reversed(described.__mro__):
        _, _, section = inspect.cleandoc(kind.__doc__ or "").partition("\nAttributes:\n")
        entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section.split("\n\n")[0], re.MULTILINE)
        docs |= {name: " ".join(text.split()) for name, text in entries}
    return docs


def _complete(part: Schema, section: type[Section]) -> None:
    """Add descriptions and the earlier names of keys to the schema of a section."""
    docs = attribute_docs(section)
    if section is SECTIONS["training"]:
        docs = attribute_docs(TrainingPlan) | docs
    part["description"] = (inspect.getdoc(section) or "").partition("\n")[0]
    part["description"] = re.split(r"[:;]", part["description"])[0].rstrip(".") + "."
    for key, schema in part["properties"].items():
        schema.pop("title", None)
        schema["description"] = docs[key]
    for earlier, key in section.earlier_names().items():
        schema = part["properties"][key]
        part["properties"][earlier] = schema | {"deprecated": True, "description": f"Earlier name of {key}."}
        either = [{"required": [key]}, {"required": [earlier]}]
        if key in part.get("required", []):
            part["required"] = [name for name in part["required"] if name != key]
            part.setdefault("allOf", []).append({"oneOf": either})
        else:
            part.setdefault("allOf", []).append({"not": {"allOf": either}})


def _tasks() -> Iterator[Schema]:
    """Yield the ways to name a task: alone, with options, and with its one option in their place."""
    names = {"enum": list(TASKS)}
    yield names
    yield {"type": "string", "pattern": f"^({'|'.join(n for n, loader in TASKS.items() if loader.shorthand)}):."}
    long_form = {"name": names, "options": {"type": "object"}}
    yield {"type": "object", "properties": long_form, "required": ["name"], "additionalProperties": False}
    for name, loader in TASKS.items():
        ways = [_options(loader.options)]
        if loader.shorthand:
            ways.append(ways[0]["properties"][loader.shorthand])
        yield {
            "type": "object",
            "properties": {name: {"anyOf": ways}},
            "required": [name],
            "additionalProperties": False,
        }


def _options(model: type[BaseModel]) -> Schema:
    schema, docs = model.model_json_schema(), attribute_docs(model)
    for key, option in schema["properties"].items():
        option.pop("title", None)
        option["description"] = docs[key]
    return _without(schema, "title", "description")


def _knobs() -> Iterator[tuple[str, Knob | None]]:
    """Yield every knob under its dotted name; None where its values follow from the task's images."""
    for name, family in FAMILIES.items():
        small, large = (family.knobs(sides) for sides in SIDES)
        yield from ((f"{name}.{short}", knob if knob == large[short] else None) for short, knob in small.items())
    for name, step in STEPS.items():
        yield from ((f"{name}.{short}", knob) for short, knob in step.knobs.items())


def _one_value(knob: Knob | None) -> Schema:
    if knob is None:
        return {"type": "number"}
    if isinstance(knob, Choice):
        return {"type": ["string", "integer"]} if knob.open else {"enum": list(knob.values)}
    kind = "integer" if isinstance(knob.lowest, int) else "number"
    return {"type": kind, "minimum": knob.lowest, "maximum": knob.highest}


def _narrowing(knob: Knob | None) -> Schema:
    """Return the ways to narrow a knob: one value, a list, bounds and step for numbers, null."""
    value = _one_value(knob)
    ways: list[Schema] = [value, {"type": "array", "items": value, "minItems": 1}]
    if not isinstance(knob, Choice):
        bounds = {"low": value, "high": value, "step": {"type": "number", "exclusiveMinimum": 0}}
        ways.append({"type": "object", "properties": bounds, "additionalProperties": False})
    words = {"description": f"Allowed: {knob.taken if isinstance(knob, Choice) else knob}."} if knob else {}
    return {"anyOf": [*ways, {"type": "null"}], **words}


def _without(schema: Schema, *keys: str) -> Schema:
    return {key: value for key, value in schema.items() if key not in keys}
