"""What must hold of a run, each checker apart from the workload that it judges."""
