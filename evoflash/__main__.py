"""`python -m evoflash`: the command, where its folder is not in the PATH."""

from evoflash.cli.main import main

main()
