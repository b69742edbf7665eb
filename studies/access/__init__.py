"""Who may use the service, and what was changed through it."""
