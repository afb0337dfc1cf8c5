"""The stages of the chain, one module each; none imports another.

Helpers: ``links`` of view and ``sweep``, ``changes`` and ``sweep`` of publish.
"""
