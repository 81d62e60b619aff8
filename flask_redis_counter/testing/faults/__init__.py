"""Faults: context managers that break the services of a stack, and a nemesis that chooses them."""
