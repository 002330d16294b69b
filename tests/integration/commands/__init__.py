"""An application for the tests of `ais_worker`: jobs that wait at a gate, drivers that are not ours."""
