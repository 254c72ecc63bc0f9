"""The functions behind `import epicsub` that need several packages; the commands call the same ones."""
