"""The setup of a server: what the options of `serve` come to, at its start and at each reload."""

import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from squire_gatherings._cli.admin import AdminPort, make_admin_port
from squire_gatherings._cli.auth import Auth, make_auth
from squire_gatherings._cli.doors import make_doors
from squire_gatherings._cli.presence import PRESENCE
from squire_gatherings._cli.telemetry import make_tracer
from squire_gatherings._cli.webhook import WebhookSetup, make_webhook
from squire_gatherings._hall.authentication import Authenticate, admit_everybody
from squire_gatherings._server import ServerSettings
from squire_gatherings._server.tls import Certificate, TlsContext
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.settings import HallSettings
from squire_gatherings._webhook.webhook import Webhook

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


@frozen(eq=False)
class Setup:
    """What a server is to do."""

    options: Mapping[str, Any]
    """The options that it was made of."""
    hall: HallSettings
    server: ServerSettings
    auth: Auth
    certificate: Certificate | None
    """None serves without TLS."""
    admin: AdminPort | None
    """None opens no port for operators."""
    webhook: WebhookSetup | None
    """None tells nobody of lifecycle events."""
    tracer: "Tracer | None"
    """None traces nothing."""


def make_setup(options: Mapping[str, Any], open_files: int | None) -> Setup:
    """Read keys and certificates, which waits for their files, and check all options together.

    Args:
        options: The values of `serve`'s options, by name.
        open_files: How many files the process may have open; None for any number.

    Raises:
        click.ClickException: The options contradict each other, or leave the server open to
            others, or something isn't installed that they need.
        BadSetting: A setting can't be what it is, or a file can't be used.
    """
    doors = make_doors(dict(options), open_files)
    hall = HallSettings(
        idle_timeout=options["idle_timeout"],
        empty_timeout=options["empty_timeout"],
        close_grace=options["close_grace"],
        retry_interval=options["retry_interval"],
        retry_limit=options["retry_limit"],
        max_events=options["max_events"],
        **{name: options[name] for name in PRESENCE},
        **doors.hall,
    )
    server = ServerSettings(
        max_message_size=options["max_message_size"],
        ping_interval=options["ping_interval"],
        rate_limit=options["rate_limit"],
        close_timeout=options["close_grace"],
        allow_origins=options["allow_origins"] or None,
        **doors.server,
    )
    auth = make_auth(
        auth=options["auth"],
        host=options["host"],
        insecure=options["insecure"],
        jwt_keys=options["jwt_keys"],
        jwt_audience=options["jwt_audience"],
        jwt_issuer=options["jwt_issuer"],
        token_cookie=options["token_cookie"],
        allow_origins=options["allow_origins"],
    )
    admin = make_admin_port(
        admin_port=options["admin_port"],
        admin_host=options["admin_host"],
        admin_token_file=options["admin_token_file"],
        admin_names=options["admin_names"],
        admin_open_metrics=options["admin_open_metrics"],
    )
    webhook = make_webhook(options["webhook"], options["webhook_secret_file"])
    tracer = make_tracer(options["otel"])
    return Setup(options, hall, server, auth, doors.certificate, admin, webhook, tracer)


@define(eq=False)
class Current:
    """The setup that counts now. Who may come in, and by which certificate, is looked up in it."""

    setup: Setup
    webhook: Webhook | None = field(init=False)
    """Where lifecycle events are posted."""

    def __attrs_post_init__(self) -> None:
        webhook = self.setup.webhook
        self.webhook = None if webhook is None else webhook.open()

    def change(self, setup: Setup) -> None:
        """Let another setup count."""
        self.setup = setup
        if self.webhook is not None and setup.webhook is not None:
            self.webhook.change_secrets(setup.webhook.secrets)

    @property
    def authenticate(self) -> Authenticate:
        """What a hall asks who somebody is."""
        return admit_everybody if self.setup.auth.authenticator is None else self._authenticate

    @property
    def ssl_context(self) -> TlsContext | None:
        """What secures new connections."""
        return None if self.setup.certificate is None else self._context

    async def _authenticate(
        self, token: str | None, gathering_id: str, request: HandshakeRequest | None = None
    ) -> Identity:
        authenticator = self.setup.auth.authenticator
        assert authenticator is not None
        return await authenticator(token, gathering_id, request)

    def _context(self) -> ssl.SSLContext:
        assert self.setup.certificate is not None
        return self.setup.certificate()
