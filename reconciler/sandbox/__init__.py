"""A small, honest Customer.io to try specs against: Track and App API in one process, on loopback, faults on request.

It shares no code with the client: both are readings of the same public pages. Standard library only.
"""
