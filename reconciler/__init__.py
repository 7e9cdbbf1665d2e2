"""Keep Customer.io manual segments equal to SQL queries."""

__version__ = "0.1.0"
