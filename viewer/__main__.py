"""`python -m viewer` is `viewer`."""

from viewer.commands import main

main()
