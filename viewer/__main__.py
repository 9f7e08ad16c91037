"""`python -m viewer` is `viewer`."""

from viewer.cli import main

main()
