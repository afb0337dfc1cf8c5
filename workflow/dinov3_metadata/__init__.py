"""The metadata files DINOv3 trains from, made from an ImageNet-style folder of images."""

__version__ = "0.1.0"
