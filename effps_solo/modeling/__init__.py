"""The networks: backbones, heads, fusions and the architectures that join them."""
