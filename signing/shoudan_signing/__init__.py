"""Signature schemes of the outside world, one pure module each: bytes and keys in, text or a verdict out."""
