"""`python -m squire_gatherings`."""

from squire_gatherings.programs.cli import main

if __name__ == "__main__":
    main()
