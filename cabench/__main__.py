"""`python -m cabench`: the command line."""

from cabench.commands.app import main

main()
