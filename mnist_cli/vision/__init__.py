"""Brings pictures of digits into MNIST's form: read, find the ink, cut out digits, scale, centre."""
