"""Texts of YAML that people and strangers write: read in time that grows with their length, or refused in one line."""

from typing import Any

import yaml

from paredown.search.errors import ConfigError

MAX_DEPTH = 50
"""Maximum number of collections within each other: the time to read a text grows with its length times its depth."""
SHOWN = 40
"""Maximum number of characters of a value in a message."""
NO_VALUE = (ValueError, AttributeError, OverflowError)
"""What PyYAML raises for a scalar that looks like a date or a number and is none."""


MERGE = "tag:yaml.org,2002:merge"
"""Tag of `<<`, the key whose mappings are merged into the one that holds it."""


class _Loader(yaml.SafeLoader):
    """Names the place of a scalar that cannot be read, as PyYAML does of all else, and refuses a key that stands twice.

    PyYAML keeps the last of two equal keys, so that a limit which stands earlier would be lost without a word.
    """

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        first: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            known = first.setdefault((key.tag, key.value), key)
            if known is not key:
                said = f"{_shown(key)} stands here and in line {known.start_mark.line + 1}; leave one out"
                raise yaml.constructor.ConstructorError(None, None, said, key.start_mark)
        super().flatten_mapping(node)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except NO_VALUE as error:
            kind = node.tag.rpartition(":")[2]
            said = f"{_shown(node)} is taken for {kind} and is none ({error}); put a text in quotes"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark) from error


def loaded(text: str, where: str, *, allows_aliases: bool = False) -> Any:
    """Return what a text of YAML says.

    Args:
        text: The text.
        where: How messages name it.
        allows_aliases: Whether one value may be named at several places, so that a short text stands for a long one.

    Raises:
        ConfigError: It is no YAML, or takes far more time or memory than its length says.
    """
    _check(text, where, allows_aliases)
    try:
        return yaml.load(text, _Loader)  # noqa: S506  (a safe loader)
    except yaml.YAMLError as error:
        raise _invalid(where, error) from error


def composed(text: str, where: str) -> yaml.Node | None:
    """Return the nodes of a text of YAML without aliases, with their places; None where it is empty.

    Raises:
        ConfigError: As `loaded`.
    """
    _check(text, where, allows_aliases=False)
    try:
        return yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise _invalid(where, error) from error


def _check(text: str, where: str, allows_aliases: bool) -> None:
    """Refuse what takes too much; no more of the text is read than shows that."""
    depth = 0
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) and not allows_aliases:
                raise ConfigError(f"{where}: aliases (*name) are not accepted; write the value out")
            if depth > MAX_DEPTH:
                raise ConfigError(
                    f"{where}: lists or mappings within each other, more than {MAX_DEPTH} deep, are not read"
                )
    except yaml.YAMLError as error:
        raise _invalid(where, error) from error


def _shown(node: yaml.Node) -> str:
    value = str(node.value)
    return value if len(value) <= SHOWN else f"{value[:SHOWN]}..."


def _invalid(where: str, error: yaml.YAMLError) -> ConfigError:
    return ConfigError(f"{where}: is no valid YAML: {error}")
