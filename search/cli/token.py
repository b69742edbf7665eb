"""The commands `token create`, `token list` and `token revoke`: who may use the service."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from paredown.search.cli.options import DEFAULT_STORAGE, AsJson, Storage
from paredown.search.cli.output import print_json, print_table

if TYPE_CHECKING:
    from paredown.studies.access.tokens import Tokens

token = typer.Typer(help="Tokens of the service.", no_args_is_help=True)


@token.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    owner: Annotated[str, typer.Option(help="Name of the user whose studies it reaches.")] = "admin",
    scope: Annotated[
        str, typer.Option(help="What it allows: read, submit or admin, each with all before it.")
    ] = "submit",
    expires: Annotated[str | None, typer.Option(help="Time after which it is refused, e.g. 12h.")] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Make a token and print it; it cannot be shown again."""
    from paredown.search.errors import ConfigError
    from paredown.search.study_file.quantity import seconds

    try:
        lifetime_s = None if expires is None else seconds(expires)
    except ConfigError as error:
        raise ConfigError(f"--expires {expires}: {error}") from None
    typer.echo(_tokens(storage).create(name, owner, [scope], lifetime_s))


@token.command("list")
def list_tokens(storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """List the tokens, without what only their owners know."""
    found = _tokens(storage).list()
    if as_json:
        print_json({"tokens": [vars(one) | {"scopes": list(one.scopes)} for one in found]})
        return
    rows = [
        [
            one.key,
            one.name,
            one.owner,
            ", ".join(one.scopes),
            _day(one.created_at),
            _day(one.expires_at),
            _day(one.revoked_at),
        ]
        for one in found
    ]
    print_table(["key", "name", "owner", "scopes", "created", "expires", "revoked"], rows)


@token.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Key of the token; `paredown token list` shows it.")],
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Refuse a token from now on."""
    _tokens(storage).revoke(key)
    typer.echo(f"token {key} is revoked")


def _tokens(storage: str) -> "Tokens":
    from paredown.studies.access.tokens import Tokens
    from paredown.studies.database import open_storage

    return Tokens(open_storage(storage).engine)


def _day(time: float | None) -> str:
    return "" if time is None else datetime.fromtimestamp(time).isoformat(sep=" ", timespec="minutes")
