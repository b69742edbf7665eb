"""The API of the service: its routes, their documents, and the application."""
