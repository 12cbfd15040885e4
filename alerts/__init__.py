"""Alerts: the book that opens, revises and closes them, the risk of a person, feedback, and delivery to sinks."""
