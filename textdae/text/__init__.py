"""What knows text."""
