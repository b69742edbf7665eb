"""What others see of a search: its log, its status file, the time that is left, commands at its end."""
