"""Brings pictures of digits into MNIST's form: read, find the ink, cut out the digits, scale, centre.

Knows no torch, no network and no terminal: pictures in, images of 28×28 bytes out.
"""
