"""Fuzzing: any bytes into the parts that read bytes of others, held against rules. docs/security.md tells how.

`target.py` says what a target is, `python -m tests.fuzz` runs them.
"""
