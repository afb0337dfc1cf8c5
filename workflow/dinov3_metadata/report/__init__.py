"""The report: pages and plots that show the published metadata."""
