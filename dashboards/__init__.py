"""What is shown: Grafana's dashboards and provisioning from the platform file.

`pages` say what is asked, one module each. `panels`, `style`, `annotation`, `variables` and `data_sources` draw it over
grafanalib, and `build` makes the document that Grafana loads. `check`, `verify` and `push` start from that document.
"""
