"""The command `paredown`, also as `python -m paredown`."""

from paredown.search.cli.stop_signals import end_at_once, ignore_signals


def main() -> None:
    """Run the command line; SIGINT and SIGTERM end it in our words also while it is being imported."""
    end_at_once()
    from paredown.search.cli.app import main as command_line

    try:
        command_line()
    finally:
        ignore_signals()


if __name__ == "__main__":
    main()
