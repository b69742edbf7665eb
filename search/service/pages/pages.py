"""All pages, and which one an address names."""

from types import ModuleType

from paredown.search.service.pages import (
    analysis_page,
    change_page,
    compare_page,
    data_panel,
    devices_page,
    file_page,
    front_page,
    log_page,
    new_page,
    queue_page,
    steering,
    studies_page,
    study_frame,
    tokens_page,
    trial_page,
    trials_page,
)
from paredown.search.service.pages.place import Place

PAGES: dict[str, ModuleType] = {
    "new": new_page,
    "queue": queue_page,
    "devices": devices_page,
    "tokens": tokens_page,
}
STUDY_PAGES: dict[str, ModuleType] = {
    "trials": trials_page,
    "analysis": analysis_page,
    "compare": compare_page,
    "log": log_page,
    "file": file_page,
    "change": change_page,
}
ALL: tuple[ModuleType, ...] = (
    studies_page,
    front_page,
    study_frame,
    tokens_page,
    trial_page,
    steering,
    data_panel,
    *PAGES.values(),
    *STUDY_PAGES.values(),
)


def page_of(place: Place) -> ModuleType | None:
    """Return the page that an address names; None where there is none."""
    match place.parts:
        case ():
            return studies_page
        case ("studies", _):
            return front_page
        case ("studies", _, part):
            return STUDY_PAGES.get(part)
        case ("studies", _, "trials", _):
            return trial_page
        case (part,):
            return PAGES.get(part)
    return None
