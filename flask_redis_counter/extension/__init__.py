"""The Flask extension: per-app state, the visit filter, the view decorator, `flask counter`."""
