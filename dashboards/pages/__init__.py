"""The dashboards, one module each: what is asked at three in the morning, and the panels that answer."""
