"""The tools of people that alerts are sent to; ``alerts.sinks`` says which of them are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from settings.alerts import HttpSecret
from settings.section import Section, WebAddress

Least = Literal["low", "medium", "high", "critical"]


class SinkSettings(Section):
    """What each sink needs to know; secrets come from the environment."""

    page_url: WebAddress | None = None
    pause_seconds: float = Field(10, ge=0)
    slack_url: HttpSecret | None = Field(None, description="address of an incoming webhook of Slack")
    teams_url: HttpSecret | None = Field(None, description="address of a workflow's webhook of Teams")
    pagerduty_key: SecretStr | None = Field(None, description="routing key of an integration of PagerDuty")
    pagerduty_url: WebAddress = "https://events.pagerduty.com/v2/enqueue"
    pagerduty_from: Least = "high"
    jira_url: WebAddress | None = None
    jira_user: str | None = None
    jira_token: SecretStr | None = Field(None, description="API token of jira_user")
    jira_project: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    jira_issue_type: str = "Task"
    jira_from: Least = "high"
    mail_host: str | None = None
    mail_port: int = Field(587, ge=1, le=65_535)
    mail_security: Literal["starttls", "tls", "none"] = "starttls"
    mail_username: str | None = None
    mail_password: SecretStr | None = Field(None, description="of mail_username")
    mail_from: str | None = None
    mail_to: tuple[str, ...] = ()
    syslog: Annotated[str, Field(pattern=r"^(udp|tcp|tls)://[^/\s:]+:\d+$")] | None = None
    syslog_ca_file: str | None = None
    ocsf: Annotated[str, Field(pattern=r"^kafka:[A-Za-z0-9._-]+$|^[^:]+$")] | None = None
    ecs: Annotated[str, Field(pattern=r"^kafka:[A-Za-z0-9._-]+$|^[^:]+$")] | None = None
