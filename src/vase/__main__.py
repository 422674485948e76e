"""`python -m vase` is `vase`."""

from vase.cli import main

main()
