"""What a recipe decides on: statistics of what every projection reads, of gradients, of routers, and of layers."""
