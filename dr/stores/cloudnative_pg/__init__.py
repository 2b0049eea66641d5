"""PostgreSQL clusters of CloudNativePG: switchovers through the operator's resources."""
