"""Queue drivers: leaves that nothing imports. Each imports its contract and its client library alone."""
