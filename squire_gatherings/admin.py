"""The admin port: programs that embed a hall import it as `squire_gatherings.admin`.

It needs the extra `admin`: `pip install 'squire-gatherings[admin]'`.
"""

from squire_gatherings._admin.serving import Admin, admin_app, serve_admin

__all__ = ["Admin", "admin_app", "serve_admin"]
