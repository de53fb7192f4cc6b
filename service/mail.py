"""Mail to people: by an SMTP server where one is set. Where none is, operators make the links themselves."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from service.settings import Settings

_LOG = structlog.get_logger()
_PATIENCE_SECONDS = 20


class Mailer:
    """Sends mail by the server of *settings*."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def is_on(self) -> bool:
        """Whether there is a server to send by."""
        return self._settings.smtp_host is not None

    async def send(self, to: str, subject: str, text: str) -> None:
        """Send a message, or log that it could not be sent: nobody waits for it. Its text is a secret."""
        message = EmailMessage()
        try:
            message["From"], message["To"], message["Subject"] = self._settings.mail_from, to, subject
            message.set_content(text)
            await asyncio.to_thread(self._send, message)
        except (OSError, ValueError, smtplib.SMTPException) as error:
            # Not its text, which may quote the address.
            _LOG.error("mail_failed", reason=type(error).__name__)

    def _send(self, message: EmailMessage) -> None:
        settings = self._settings
        tls = settings.smtp_security == "tls"
        context = ssl.create_default_context()
        host, port = settings.smtp_host or "", settings.smtp_port
        with (
            smtplib.SMTP_SSL(host, port, timeout=_PATIENCE_SECONDS, context=context)
            if tls
            else smtplib.SMTP(host, port, timeout=_PATIENCE_SECONDS)
        ) as server:
            if settings.smtp_security == "starttls":
                server.starttls(context=context)
            if settings.smtp_user is not None and settings.smtp_password is not None:
                server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
            server.send_message(message)
