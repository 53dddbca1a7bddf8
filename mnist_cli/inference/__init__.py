"""Uses of a trained network: answers to images and drawings, plots, exported files."""
