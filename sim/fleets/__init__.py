"""Fleets over years: the coordinator's real policies of placement and repair over up to 100,000
modelled cells, event by event. Cells, disks and lines are figures here, not programs: the rest of
``sim`` runs the programs.

Source: docs/durability.md, "Simulated fleets".
"""
