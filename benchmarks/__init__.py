"""What `reconcile` costs, against floors and peers measured in the same run: `make bench`."""
