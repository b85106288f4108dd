"""The settings of the tests' Nautobot. Its defaults read the environment that `services.environment` makes."""

from nautobot.core.settings import *  # noqa: F403
