"""The tests that drivers of every kind have to pass."""
