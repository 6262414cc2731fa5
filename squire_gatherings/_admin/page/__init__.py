"""The page: the hall as a browser shows it, live. `static` has its files, as they are served.

Nothing is built, and nothing comes from elsewhere. Modules in `static` that end in `.mjs` and don't
touch the document are plain functions; the tests run them without a browser.
"""
