"""Mutation testing: small faults are put into the pure rooms, one at a time; do the fast tests see each of them?"""
