"""What `textdae doctor` checks: the machine, a checkpoint, the golden run."""
