"""What ``import mnist_cli`` offers, and what the commands compute with. Prints nothing itself."""
