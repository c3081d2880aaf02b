"""What the commands do, each in one file."""
