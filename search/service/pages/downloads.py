"""Files for a browser: the same as the API's, which takes no cookies."""

from fastapi import FastAPI

from paredown.search.service.service import Service


def add_downloads(application: FastAPI, service: Service) -> None:
    """Add the routes."""
