"""The live stream: what the page of the admin port shows, told as it changes.

`shapes` has what is said, `viewers` who watches, `news` what a viewer doesn't know yet, and
`routes` the stream itself. While nobody watches there's no task, no timer and no memory of it.
"""
