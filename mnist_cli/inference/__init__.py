"""What a trained network is used for: answers to images and drawings, plots, exported files."""
