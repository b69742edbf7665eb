"""All pages, and which one an address names."""

from types import ModuleType

from paredown.search.service.pages import (
    studies_page,
)
from paredown.search.service.pages.place import Place

PAGES: dict[str, ModuleType] = {}
STUDY_PAGES: dict[str, ModuleType] = {}
ALL: tuple[ModuleType, ...] = (studies_page,)


def page_of(place: Place) -> ModuleType | None:
    """Return the page that an address names; None where there is none."""
    if not place.parts:
        return studies_page
    return None
