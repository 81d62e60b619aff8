"""The Flask extension: which requests are visits, whose, and the state of each app."""
