"""`python -m cabench`: the command line."""

from cabench.commands.entry import main

main()
