"""`python -m epicsub` is `epicsub`."""

from epicsub.cli import run

run()
