"""The admin port: health, metrics and an API over HTTP, for those who run a hall.

It needs the extra `admin` (`hypercorn`, `starlette`, `prometheus-client`). Its public face is
`squire_gatherings.admin`. `serving` has the sockets, `app` what is served, `security` who may ask,
`sessions` how browsers log in, `operations` makes one call of one request, `openapi` describes them
all; the calls are in `api`, the numbers in `metrics`, and whether all is well in `health`.
"""
