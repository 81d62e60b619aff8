"""Tools of the project: not a part of the package."""
