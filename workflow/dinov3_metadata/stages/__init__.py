"""The stages of the chain, one module each. No stage imports another stage.

``annotations``, ``links`` and ``image_numbers`` are helpers of ``view``. ``changes`` and ``sweep``
are helpers of ``publish``; ``sweep`` also uses ``links``.
"""
