"""`python -m squire_gatherings`."""

from squire_gatherings._cli.cli import main

if __name__ == "__main__":
    main()
