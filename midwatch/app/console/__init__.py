"""The console: what `midwatch status` says and more, as pages in a browser; read-only but for silences.

`application` is the web application, `pages` has one module a page, `templates` what they look like. What a page shows
comes from `midwatch.app.status` and from Prometheus, asked once for all who look.
"""
