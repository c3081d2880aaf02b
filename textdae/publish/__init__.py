"""What goes to the Hub: which files, as one commit, and in the background of a run."""
