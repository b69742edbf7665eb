"""Devices for which models are searched: one TOML file each."""
