"""All pages, and which one an address names."""

from types import ModuleType

from paredown.search.service.pages import front_page, steering, studies_page, study_frame
from paredown.search.service.pages.place import Place

PAGES: dict[str, ModuleType] = {}
STUDY_PAGES: dict[str, ModuleType] = {}
ALL: tuple[ModuleType, ...] = (studies_page, front_page, study_frame, steering, *PAGES.values(), *STUDY_PAGES.values())


def page_of(place: Place) -> ModuleType | None:
    """Return the page that an address names; None where there is none."""
    match place.parts:
        case ():
            return studies_page
        case ("studies", _):
            return front_page
        case ("studies", _, part):
            return STUDY_PAGES.get(part)
        case (part,):
            return PAGES.get(part)
    return None
