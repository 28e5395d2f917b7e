"""`python -m neuroenc` is the command line."""

from neuroenc.cli import main

main()
