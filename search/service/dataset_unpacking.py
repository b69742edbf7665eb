"""Unpacks an uploaded data set in a process of its own, and says what it is, as `paredown data check` does.

It reads one JSON document on standard input and writes one on standard output. Files from outside are decoded here:
what disturbs Pillow ends this process, not the server.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

from paredown.evaluators.standard_output import output_to_stderr
from paredown.evaluators.tasks.image_file import NOT_DECODED, UNREADABLE
from paredown.search.cli.exit_codes import run_command
from paredown.search.errors import ConfigError
from paredown.search.service.dataset_description import described
from paredown.search.service.dataset_places import images_folder
from paredown.search.service.zip_members import checked_members, extracted, open_zip

MAX_PIXELS = 50_000_000
"""Maximum number of pixels of an image: a small file may hold a picture without end."""


def unpacked(request: dict[str, Any]) -> dict[str, Any]:
    """Unpack a zip file into a folder, and return what is in it.

    Args:
        request: `zip` (a file), `folder` (an empty one) and `max_bytes` (of all unpacked files together).

    Raises:
        ConfigError: The zip file holds what may not be unpacked, or no data that a study can use.
    """
    folder = Path(request["folder"])
    root = images_folder(folder)
    size = 0
    with open_zip(Path(request["zip"])) as archive:
        members, left_out = checked_members(archive, int(request["max_bytes"]))
        for member in members:
            target = root / member.target
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                for part in extracted(archive, member):
                    size += file.write(part)
            _check_image(target, str(member.target))
    return {"files": len(members), "left_out": left_out, "size_bytes": size, **described(folder)}


def _check_image(file: Path, name: str) -> None:
    """Refuse what Pillow does not decode by itself, from the header alone."""
    Image.init()
    formats = [one for one in Image.OPEN if one not in NOT_DECODED]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is lower
            image = Image.open(file, formats=formats)
        with image:
            width, height = image.size
    except UNREADABLE:
        raise ConfigError(f"{name}: is no image that can be read") from None
    if width * height > MAX_PIXELS:
        raise ConfigError(f"{name}: has {width} x {height} pixels; allowed: {MAX_PIXELS:,} in all")


def _main() -> None:
    request = json.load(sys.stdin)
    with output_to_stderr():  # whatever libraries print
        found = unpacked(request)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    run_command(_main)
