"""The command `paredown unpack`; reads a packed file without PyTorch."""

from pathlib import Path
from typing import Annotated

import typer

from paredown.search.cli.output import print_json, print_table
from paredown.search.errors import ConfigError


def unpack(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of an exported model, or a packed file.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="ONNX file to write; none: only show what is packed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Write the ONNX model that a packed file holds, and show how each tensor is stored."""
    from paredown.evaluators.errors import PackingError
    from paredown.evaluators.files.names import PACKED_FILE
    from paredown.evaluators.packing.container import read
    from paredown.evaluators.packing.summary import encoding_rows, tensor_rows

    file = source / PACKED_FILE if source.is_dir() else source
    try:
        packed = file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot be read ({error.strerror}); name a packed file or a folder that `paredown export` made"
        ) from error
    try:
        contents = read(packed)
    except PackingError as error:
        raise ConfigError(f"{file}: {error}") from error
    if out is not None:
        try:
            out.write_bytes(contents.model)
        except OSError as error:
            raise ConfigError(f"-o {out}: cannot be written ({error.strerror})") from error
    tensors, encodings = tensor_rows(contents), encoding_rows(contents)
    if as_json:
        print_json(
            {
                "packed": str(file),
                "model": None if out is None else str(out),
                "packed_bytes": len(packed),
                "onnx_bytes": len(contents.model),
                "parts": contents.parts,
                "encodings": encodings,
                "tensors": tensors,
            }
        )
        return
    for rows in (tensors, encodings):
        print_table(list(rows[0]) if rows else [], [[_shown(value) for value in row.values()] for row in rows])
        typer.echo()
    parts = ", ".join(f"{name} {size:,}" for name, size in contents.parts.items())
    typer.echo(f"packed  {len(packed):,} bytes ({parts}); as ONNX {len(contents.model):,} bytes")
    if out is not None:
        typer.echo(f"model   {out}")


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " x ".join(map(str, value)) or "1"
    return f"{value:,}" if isinstance(value, int) else str(value)
