"""Networks as files for other programs: ONNX, torch.export, safetensors.

Knows networks and their weights; nothing about training or the terminal.
"""
