"""The page to play with: the same front end over a live model, or over files that were computed before."""
