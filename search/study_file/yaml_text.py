"""What a text of YAML may not hold, least of all where strangers send it."""

import yaml

MAX_DEPTH = 50
"""Maximum number of collections within each other: the time to read a text grows with its length times its depth."""


def excess(text: str, *, allows_aliases: bool = False) -> str:
    """Return why a text takes far more time or memory than its length says; empty where it does not.

    No more of it is read than shows that.

    Args:
        text: The text.
        allows_aliases: Whether one value may be named at several places, so that a short text stands for a long one.

    Raises:
        yaml.YAMLError: It is no YAML.
    """
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) and not allows_aliases:
            return "aliases (*name) are not accepted; write the value out"
        if depth > MAX_DEPTH:
            return f"more than {MAX_DEPTH} lists or mappings within each other are not accepted"
    return ""
