"""The report: pages and pictures of what is published."""
