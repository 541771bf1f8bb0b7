"""`python -m shoudan_cli`: the command where no console script is installed."""

from shoudan_cli.main import main

main()
