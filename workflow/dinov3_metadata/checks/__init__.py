"""Checks: find out whether metadata files are right for a dataset, whoever made them."""
