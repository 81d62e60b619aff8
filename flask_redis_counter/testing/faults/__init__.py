"""Faults: what is done to the services of a stack."""
