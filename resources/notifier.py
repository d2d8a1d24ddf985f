"""Notification channels: the log, a webhook, SNS, e-mail.

Here: one try by one way, bounded in time. Not here: what is said (groundplan/operations/notifications.py), or trying
again (orchestration/sensors/alerts.py). Secrets never enter a message or an error: a webhook's path is one, too.
"""

from __future__ import annotations

import json
import os
import smtplib
import ssl
import urllib.error
import urllib.request
from email.message import EmailMessage
from urllib.parse import urlsplit

import dagster as dg

from groundplan.config import NotifySettings
from groundplan.operations.notifications import Notice, NotSent


class Notifier(dg.ConfigurableResource):
    """Sends notices by the ways that `[notify]` names. Holds no state; tests put another in its place."""

    def ways(self, settings: NotifySettings) -> tuple[str, ...]:
        """What is configured. The log is written in any case, by the sensor."""
        named = {
            "webhook": settings.webhook or settings.webhook_env,
            "sns": settings.sns_topic,
            "email": settings.email_to,
        }
        return tuple(way for way, value in named.items() if value)

    def send(self, way: str, notice: Notice, settings: NotifySettings) -> None:
        """Raises NotSent. A way that is no longer configured takes everything."""
        if way not in self.ways(settings):
            return
        {"webhook": _webhook, "sns": _sns, "email": _email}[way](notice, settings)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET somewhere else, and look as if it had been taken."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


def _webhook(notice: Notice, settings: NotifySettings) -> None:
    body = json.dumps(notice.as_json(), ensure_ascii=False).encode()
    url, host = settings.webhook, "an address that is none"
    if not url:
        url = _secret(settings.webhook_env, "webhook")
    try:
        host = urlsplit(url).hostname or host
        request = urllib.request.Request(
            url, body, {"Content-Type": "application/json", "User-Agent": "groundplan"}, method="POST"
        )
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=settings.timeout) as answer:
            answer.read(1024)
    except urllib.error.HTTPError as error:
        raise NotSent(f"webhook at {host}", f"it answered {error.code}", "Check notify.webhook") from None
    except (OSError, ValueError) as error:
        reason = type(getattr(error, "reason", error)).__name__
        raise NotSent(f"webhook at {host}", f"it cannot be reached ({reason})", "Check notify.webhook") from None


def _sns(notice: Notice, settings: NotifySettings) -> None:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    limits = Config(connect_timeout=settings.timeout, read_timeout=settings.timeout, retries={"total_max_attempts": 1})
    try:
        client = boto3.client("sns", region_name=settings.sns_topic.split(":")[3], config=limits)
        subject = notice.title.encode("ascii", "replace").decode()[:99]  # SNS takes no other characters
        client.publish(TopicArn=settings.sns_topic, Subject=subject, Message=notice.text())
    except ClientError as error:
        reason = error.response.get("Error", {}).get("Code", "refused")
        raise NotSent("SNS topic", f"it refused ({reason})", "Check notify.sns_topic and sns:Publish") from None
    except BotoCoreError as error:
        remedy = "Check notify.sns_topic and the credentials"
        raise NotSent("SNS topic", f"it cannot be reached ({type(error).__name__})", remedy) from None


def _email(notice: Notice, settings: NotifySettings) -> None:
    message = EmailMessage()
    message["Subject"] = notice.title
    message["From"], message["To"] = settings.email_from, ", ".join(settings.email_to)
    message.set_content(notice.text())
    server = f"mail server {settings.smtp_host}:{settings.smtp_port}"
    try:
        with smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=settings.timeout) as smtp:
            if settings.smtp_starttls:
                smtp.starttls(context=ssl.create_default_context())
            if settings.smtp_user:
                smtp.login(settings.smtp_user, _secret(settings.smtp_password_env, "e-mail"))
            smtp.send_message(message)
    except smtplib.SMTPAuthenticationError:
        raise NotSent(server, "it refused the log-in", "Check notify.smtp_user and the password's variable") from None
    except (smtplib.SMTPException, OSError) as error:
        raise NotSent(server, f"it did not take the e-mail ({type(error).__name__})", "Check notify.smtp_*") from None


def _secret(name: str, way: str) -> str:
    """Raises NotSent where the environment does not hold it."""
    if not os.environ.get(name):
        raise NotSent(way, f"the environment variable {name} is not set", "Set it where Dagster's code runs")
    return os.environ[name]
