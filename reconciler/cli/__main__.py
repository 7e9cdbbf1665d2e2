"""`python -m reconciler.cli`."""

from reconciler.cli import main

if __name__ == "__main__":
    main()
