"""The deterministic world: every port of :mod:`common.ports` in memory, decided by one seed."""
