"""`python -m shoudan_fakes upstream`: the outside world where no console script is installed."""

from shoudan_fakes.commands import app

app(prog_name="shoudan mock")
