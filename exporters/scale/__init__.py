"""What so many requests a second need of exporters and Prometheus, and what of a platform file would not hold them."""
