"""The stages of the chain, one module each; none imports another.

Helpers of ``view``: ``annotations``, ``links``, ``numbering``. Helpers of ``publish``: ``changes``
and ``sweep``, which needs ``links``, too.
"""
