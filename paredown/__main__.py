"""`python -m paredown` is the command `paredown`."""

from paredown.search.cli import main

main()
