"""The demo: the commands of `reconcile`, run for real on a generated shop and a local Customer.io."""
