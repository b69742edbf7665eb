"""The database that is used where none is named."""

DEFAULT_STORAGE = "sqlite:///paredown.db"
