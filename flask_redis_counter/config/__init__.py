"""Settings: their declarations, and their values from the environment or a Flask app."""
