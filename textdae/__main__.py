"""`python -m textdae`, and `accelerate launch -m textdae`."""

from textdae.cli.app import main

if __name__ == "__main__":
    main()
