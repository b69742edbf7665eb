"""The command `paredown`: one file a command or a small group of commands."""
