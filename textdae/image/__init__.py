"""What knows images."""
