"""The stages of the chain, one module each. No stage imports another stage.

``annotations``, ``links`` and ``image_numbers`` are helpers of ``view``; ``numbering`` also
uses ``annotations``. ``changes`` and ``sweep`` are helpers of ``publish``; ``sweep`` also uses
``links``.
"""
