"""Looking into a network: its layers, operations and costs, saliency, class maximisation, maps."""
