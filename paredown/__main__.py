"""`python -m paredown` is the command `paredown`."""

from paredown.search.cli.app import main

main()
