"""Public evaluation suites."""
