"""The self-test `doctor`: checks of the settings, the spool and the store."""
