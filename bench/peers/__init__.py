"""The alternatives, side by side: one short file a system, each written as its own documentation recommends.

`steps.py` is what all of them do for a notification; what is left in `on_<system>.py` is what differs.
"""
