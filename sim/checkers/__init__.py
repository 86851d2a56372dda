"""Checks of what must hold in a run, each apart from the workload that it judges."""
