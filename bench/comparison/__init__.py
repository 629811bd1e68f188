"""Herald and alternatives: one short file for each system, written as its own documentation recommends.

`steps.py` has what all of them do for a notification; `on_<system>.py` has what differs.
"""
