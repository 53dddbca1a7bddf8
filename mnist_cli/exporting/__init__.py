"""Networks as files for other programs: ONNX, torch.export, safetensors.

Knows networks and their weights; nothing of training or the terminal.
"""
